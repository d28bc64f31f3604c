"""The syntax trees of the package, and what the rules ask of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import raydc

PACKAGE = Path(raydc.__file__).parent


@dataclass(frozen=True)
class File:
    """One source file of the package, by its path inside it."""

    path: str
    text: str

    @property
    def room(self) -> str:
        """The folder it lies in, or its own name."""
        parts = Path(self.path).parts
        return parts[0] if len(parts) > 1 else Path(self.path).stem

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call, with the dotted name of what is called."""
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node

    def attributes(self) -> Iterator[tuple[str, int]]:
        """Every dotted name that is looked up, and its line."""
        for node in self.nodes:
            if isinstance(node, ast.Attribute):
                yield ast.unparse(node), node.lineno

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in self.nodes:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every import by its whole name, and its line; also inside functions, but not for type checkers alone."""
        skipped = {
            id(inner)
            for node in self.nodes
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in self.nodes:
            if id(node) in skipped:
                continue
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((f"{'.' * node.level}{node.module}.{alias.name}", node.lineno) for alias in node.names)


FILES = [File(str(p.relative_to(PACKAGE)), p.read_text()) for p in sorted(PACKAGE.rglob("*.py"))]

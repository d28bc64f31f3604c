"""A run folder: where everything of a run lies, whose config made it, and the keys that its draws come from."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raydc import __version__
from raydc.config import RunConfig, differences, dump, identity
from raydc.config.load import validate
from raydc.errors import ConfigError, DataError
from raydc.keys import Key
from raydc.sources.base import Source
from raydc.store.faults import clean, secret
from raydc.store.folder import Folder

DATA = "data.json"
"""Where the fingerprint of the data is kept."""
MADE = ("teachers", "blocks", "datasets", "work")
"""What stands in a run folder once work was done: a folder without them may be given to a corrected config."""


@dataclass(frozen=True)
class Run:
    """A run's config and its folder; small, and sent to every worker.

    Layout: ``run.yaml env.json`` (what was asked, with what), ``teachers/``, ``blocks/<set>/`` (parts and markers),
    ``datasets/<set>/`` (the product and its controls, each a raydc-dataset), ``work/`` (checkpoints and receipts),
    ``students/``, ``metrics.json``, ``events/ status.json report/``.
    """

    config: RunConfig
    url: str

    @property
    def folder(self) -> Folder:
        """The run folder, as patient as the run is."""
        return Folder(self.url, self.config.engine.storage_patience)

    @property
    def key(self) -> Key:
        """The root of all draws."""
        return Key((self.config.seed,))

    def teachers(self) -> Folder:
        """Weights and records of the frozen teachers."""
        return self.folder.child("teachers")

    def blocks(self, dataset: str) -> Folder:
        """Parts and markers of a data set's blocks."""
        return self.folder.child("blocks", dataset)

    def dataset(self, dataset: str) -> Folder:
        """The packed data set."""
        return self.folder.child("datasets", dataset)

    def work(self, *parts: str) -> Folder:
        """Checkpoints and receipts that only a resume needs."""
        return self.folder.child("work", *parts)

    def students(self) -> Folder:
        """One result a student."""
        return self.folder.child("students")


def open_run(config: RunConfig, check: Callable[[Folder], None] = lambda folder: None) -> Run:
    """Create the run folder, or join one that the same config made.

    The first contact has no patience: a wrong bucket is told within seconds. Whoever was reached once is waited for.

    Args:
        config: the run's.
        check: looks at the folder before anything in it is changed, and raises if it must not be.

    Raises:
        ConfigError: the config spells a credential, or the folder was made by another config, with the values that
            differ.
        DataError: the folder cannot be reached.
    """
    _refuse_secrets(config)
    # Workers have other working directories, so a local path is made absolute once, here.
    url = config.folder if "://" in config.folder else str(Path(config.folder).expanduser().resolve())
    run = Run(config, url)
    known = run.folder.hasty().exists("run.yaml")
    check(run.folder)
    if not _begun(run):
        for name in (DATA, "env.json"):
            run.folder.remove(name)
    elif known:
        old = read_run(url)
        changed = differences(identity(old.config), identity(config))
        if changed:
            shown = "\n".join(f"  {line}" for line in changed[:10])
            shown += f"\n  and {len(changed) - 10} more" if len(changed) > 10 else ""
            raise ConfigError(
                f"run folder {url} was made by another config; these values differ (there -> here):\n{shown}\n"
                "Choose another 'output', or remove the folder to start again"
            )
    run.folder.write("run.yaml", dump(config).encode())
    if not run.folder.exists("env.json"):
        run.folder.write_json("env.json", environment())
    return run


def _begun(run: Run) -> bool:
    """Whether work was done. Teachers come first and are asked for by name, for a listing may be older than they."""
    made = (f"teachers/{teacher.name}.json" for teacher in run.config.squeeze.teachers)
    return any(run.folder.exists(name) for name in (*MADE, *made))


def _refuse_secrets(config: RunConfig) -> None:
    """Refuse a config that spells a credential: it is kept in the run folder and published with the data set."""
    for line in dump(config).splitlines():
        if secret(line):
            raise ConfigError(
                f"the config spells a credential: '{clean(line.strip())}'. It would be written into the run folder and "
                "published with the data set. Give credentials by the environment, as the storage provider documents"
            )


def changed_environment(run: Run) -> str | None:
    """What is not as it was when the run began, in words: its bytes may then differ from an undisturbed run's."""
    changed = differences(run.folder.read_json("env.json"), environment())
    return f"the run goes on in another environment than it began in ({'; '.join(changed)})" if changed else None


def same_data(run: Run, source: Source) -> None:
    """Hold the data against what the run began with: which image is drawn or held out depends on all of them.

    Raises:
        DataError: images were added, removed or renamed.
    """
    found = {"fingerprint": source.fingerprint(), "train": len(source.train), "validation": len(source.validation)}
    if not run.folder.exists(DATA):
        run.folder.write_json(DATA, found)
    elif run.folder.read_json(DATA) != found:
        begun = run.folder.read_json(DATA)
        counts = [(d["train"], d["validation"]) for d in (begun, found)]
        raise DataError(
            f"the data are not what run {run.url} began with: then {begun['train']} training and "
            f"{begun['validation']} validation images, now {found['train']} and {found['validation']}"
            f"{', under other names' if counts[0] == counts[1] else ''}. "
            "Restore them, or choose another 'output'"
        )


def read_run(url: str) -> Run:
    """Read the run that a folder holds.

    Raises:
        ConfigError: there is no ``run.yaml`` in it, or one of another version of raydc.
    """
    folder = Folder(url)
    if not folder.exists("run.yaml"):
        raise ConfigError(f"{url} is not a run folder: it has no run.yaml. Give a folder that `raydc run` has made")
    try:
        return Run(validate(yaml.safe_load(folder.read("run.yaml")), f"{url}/run.yaml"), url)
    except ConfigError as error:
        made = folder.read_json("env.json") if folder.exists("env.json") else {}
        by = f"raydc {made.get('raydc', '?')}, commit {made.get('commit', 'unknown')}"
        raise ConfigError(
            f"{error}\nThis folder was made by {by}. Read it with that version, or begin anew in another 'output'"
        ) from None


def environment() -> dict[str, Any]:
    """Versions that a result may depend on."""
    packages = ("ray", "torch", "torchvision", "timm", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "raydc": __version__,  # it may be the working directory of a job, and not installed
        **{name: importlib.metadata.version(name) for name in packages},
        "commit": _commit(),
    }


def _commit() -> str:
    """The commit of raydc's own checkout; an environment inside somebody's repository is not one."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return "unknown"

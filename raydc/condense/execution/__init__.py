"""Execution: how a frozen network is made ready to be run fast, with the same mathematics."""

from raydc.condense.execution.compiler import compiled
from raydc.condense.execution.explicit import explicit
from raydc.condense.execution.folding import folded
from raydc.condense.execution.recorder import Recorder

__all__ = ["Recorder", "compiled", "explicit", "folded"]

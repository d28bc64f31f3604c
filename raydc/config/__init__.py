"""Typed records of a run, and the YAML that fills them."""

from raydc.config.load import differences, digest, dump, identity, load
from raydc.config.schema import RunConfig

__all__ = ["RunConfig", "differences", "digest", "dump", "identity", "load"]

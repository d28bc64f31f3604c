"""Blocks over actors: a queue, the actors that work through it, and what is known of both."""

from raydc.engine.pool.committing import Committing
from raydc.engine.pool.pool import Outcome, Pool, Unit

__all__ = ["Committing", "Outcome", "Pool", "Unit"]

"""Judging a condensed set that others have made: taken over, packed, labelled, and held against random images."""

from raydc.engine.adoption.driver import Judge
from raydc.engine.adoption.settings import beside, resolved

__all__ = ["Judge", "beside", "resolved"]

"""Statistics of the real data under the teachers: a Ray Data pass, one file a teacher, and its readers."""

from raydc.engine.statistics.pins import described, statistics_of
from raydc.engine.statistics.stage import collect
from raydc.plan.statistics import needed

__all__ = ["collect", "described", "needed", "statistics_of"]

"""How tests are shared out where pytest has several workers (``-n 2``), and what all of Ray's processes are told."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

ON_ONE_CLUSTER = ("tests/cluster/test_chaos.py", "tests/cluster/test_notice.py")
"""Modules that share a cluster and an undisturbed run, which are dear."""

# Ray's workers are nicer than all else by default: beside another busy test they would get next to nothing.
os.environ.update(RAY_worker_niceness="0")
# A shell starts its background jobs deaf to Ctrl-C, and so would be the runs that tests send it to.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """A module stays together, with what is set up for it, and the modules go out in the order of their names.

    xdist would begin with those of the most tests; the long tests are few in theirs, and would be left to the end.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Modules(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.partition("::")[0]
            return ON_ONE_CLUSTER[0] if module in ON_ONE_CLUSTER else module

    config.option.loadscopereorder = False
    return Modules(config, log)

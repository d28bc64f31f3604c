"""One driver a run. Two would make every unit twice, to the same bytes, and each would write over the other's status.

There is no lock that a killed driver could leave behind: a driver is alive as long as its status goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from raydc.errors import ClusterError
from raydc.report.driver import myself
from raydc.report.status import NAME, Status, read_status
from raydc.store.folder import Folder

WATCH_SECONDS = 20.0
"""A driver gives a sign of life every five seconds, and on an object store writes it as often."""
LOOK_SECONDS = 1.0


def alone(folder: Folder, told: Callable[[str], None]) -> None:
    """Make sure that no other driver is at work on a run; waits where that cannot be seen at once.

    Raises:
        ClusterError: one is.
    """
    first = _at_work(folder)
    if first is None:
        return
    told(f"driver {first.driver} may be at work on this run: looking for {WATCH_SECONDS:.0f} s whether it is")
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        now = _at_work(folder)
        if now is None:
            return
        if now.updated != first.updated:
            raise ClusterError(
                f"driver {now.driver} is at work on this run, in stage {now.stage or 'start'}. Let it finish (`raydc "
                "status` shows how far it is) or stop it; then the same command goes on"
            )


def _at_work(folder: Folder) -> Status | None:
    """The status of a driver that may be at work; of this one's name is one of a container that was started again."""
    status = read_status(folder) if folder.exists(NAME) else None
    return status if status is not None and status.alive() and status.driver != myself() else None

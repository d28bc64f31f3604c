"""One driver a run. Two would make every unit twice, to the same bytes, and each would write over the other's status.

There is no lock that a killed driver could leave behind: a driver is alive as long as its status goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from raydc.errors import ClusterError
from raydc.report.driver import gone, myself
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
    first = _running(folder)
    if first is None or not first.alive() or _ended(first.driver):
        return
    told(f"driver {first.driver} may be at work on this run: looking for {WATCH_SECONDS:.0f} s whether it is")
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        now = _running(folder)
        if now is None or _ended(now.driver):
            return
        if now.updated != first.updated:
            raise ClusterError(
                f"driver {now.driver} is at work on this run, in stage {now.stage or 'start'}. Let it finish (`raydc "
                "status` shows how far it is) or stop it; then the same command goes on"
            )


def _running(folder: Folder) -> Status | None:
    status = read_status(folder) if folder.exists(NAME) else None
    return status if status is not None and status.state == "running" else None


def _ended(driver: str) -> bool:
    return gone(driver) or driver == myself()  # the latter in a container that was started again

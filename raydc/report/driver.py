"""The name of a driver: its machine and its process, by which that machine can tell whether it has ended."""

from __future__ import annotations

import os
import socket


def myself() -> str:
    """What tells this driver from others."""
    return f"{socket.gethostname()}:{os.getpid()}"


def gone(driver: str) -> bool:
    """Whether a driver is known to have ended: only of one on this machine."""
    host, _, number = driver.rpartition(":")
    if host != socket.gethostname() or not number.isdecimal():
        return False
    try:
        os.kill(int(number), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)  # and not somebody else's, which is there
    return False

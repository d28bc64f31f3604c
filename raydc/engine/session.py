"""One invocation of the driver: its cluster, its events, its signals, and how it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from raydc.config import RunConfig
from raydc.engine.adoption import Judge
from raydc.engine.alone import alone
from raydc.engine.background import repeating
from raydc.engine.capacity import lacking
from raydc.engine.cluster import cluster
from raydc.engine.driver import STAGES, Driver
from raydc.engine.metrics import Metrics
from raydc.engine.run import changed_environment, environment, open_run
from raydc.errors import INTERRUPTED, ClusterError, RaydcError
from raydc.report.console import show_metrics, show_result
from raydc.report.driver import myself
from raydc.report.events import EventLog
from raydc.report.live import view_for
from raydc.report.status import StatusFile
from raydc.report.units import iso

BEAT_SECONDS = 5.0
"""Between two signs of life; ``raydc status`` takes a driver for dead after a dozen of them."""


def go(config: RunConfig, stages: tuple[str, ...] | None = None, as_json: bool = False) -> None:
    """Do the given stages of a run (all if None), on a cluster that is joined or started.

    Args:
        config: the run.
        stages: which.
        as_json: print metrics.json alone on standard output; how far the run is then goes to standard error.
    """
    view = view_for(errors=as_json)

    def told(text: str) -> None:
        view({"t": iso(time.time()), "kind": "note", "text": text})

    with view, _terminable():
        run = open_run(config, lambda folder: alone(folder, told))
    log = EventLog(run.folder, [StatusFile(run.folder), Metrics(), view])
    with view, _ending(log), _terminable():
        log.emit("run_started", run=config.name, output=run.url, driver=myself(), versions=environment())
        changed = changed_environment(run)
        if changed:
            log.emit("note", text=changed)
        with cluster(), _terminable(), repeating(log.tick, BEAT_SECONDS):
            missing = lacking(config.engine)
            if missing and not os.environ.get("RAY_ADDRESS"):
                mend = "Lower engine.cpus_per_worker or engine.gpus_per_worker, or change engine.resources or labels"
                raise ClusterError(f"{missing}. {mend}")
            if missing:
                log.emit("note", text=f"{missing} now: the run waits until one comes")
            driver = (Driver if config.adopt is None else Judge)(run, log.emit)
            for stage in stages or STAGES:
                driver.do(stage)
        log.emit("run_done")
    if as_json:
        show_metrics(run.folder)
    elif stages is None or "evaluate" in stages:
        show_result(run.folder, run.dataset("condensed").url)


@contextmanager
def _ending(log: EventLog) -> Iterator[None]:
    """Write how the run ended into its events, whatever happens."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter: Ray's own handler, while Ray starts
        log.emit("run_failed", error="interrupted; the same command goes on", code=INTERRUPTED)
        raise KeyboardInterrupt from None
    except RaydcError as error:
        log.emit("run_failed", error=str(error), code=error.exit_code)
        raise
    except Exception:
        log.emit("run_failed", error=traceback.format_exc(limit=-3), code=1)
        raise
    finally:
        log.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the run as Ctrl-C does. Entered again after Ray has started, which sets a handler of its own."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""The numbers that Prometheus scrapes from a real Ray, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from raydc.engine.metrics import COUNTERS, GAUGES, Metrics, counted, levels
from raydc.report.events import KINDS, EventLog
from raydc.report.status import Status
from raydc.store.folder import Folder
from tests import tiny

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
DASHBOARD = Path(__file__).parents[2] / "cluster" / "grafana-dashboard.json"
EXPORTED = {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES}


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Where a Ray of this test exports its metrics, every second."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with tiny.ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(
            address="local", num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", _temp_dir=folder, _metrics_export_port=port,
            _system_config={"metrics_report_interval_ms": 1000},
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            ray.shutdown()
            tiny.gone(folder)


def scraped(endpoint: str) -> dict[tuple[str, str], float]:
    """What the endpoint says of run 'toy', by (name, stage)."""
    try:
        with urllib.request.urlopen(endpoint, timeout=20) as answer:
            text = answer.read().decode()
    except OSError:  # it is up some time after Ray is
        return {}
    found = {}
    for name, tags, value in re.findall(r"^(ray_raydc_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        assert labels["run"] == "toy"
        found[name, labels["stage"]] = float(value)
    return found


def tell(log: EventLog) -> None:
    """A stage with a bit of everything, and another that has ended."""
    log.emit("stage_started", stage="pack", total=1, done=0, unit="data set")
    log.emit("unit_done", stage="pack", unit="condensed", seconds=0.5, worker="driver", image_steps=0, bytes=1000)
    log.emit("stage_done", stage="pack", seconds=0.5, summary="")
    log.emit("stage_started", stage="relabel", total=9, done=2, unit="shard")
    log.emit("workers", stage="relabel", count=5, nodes=3)
    log.emit("unit_retried", stage="relabel", unit="s0", worker="a", seconds=1.0, attempt=1, error="died")
    log.emit("unit_failed", stage="relabel", unit="s0", worker="b", seconds=1.0, attempt=2, error="died")
    log.emit("unit_handed_back", stage="relabel", unit="s1", worker="c", seconds=1.0, step=4)
    log.emit("unit_copied", stage="relabel", unit="s2", node="n0")
    log.emit("node_avoided", stage="relabel", node="n1", error="died again")
    for unit in ("s2", "s3"):
        log.emit(
            "unit_done", stage="relabel", unit=unit, seconds=2.5, worker="a", image_steps=300, bytes=2**20, began=1.0
        )


def test_prometheus_finds_the_numbers(endpoint: str, tmp_path: Path) -> None:
    log = EventLog(Folder(str(tmp_path)), [Metrics()])
    log.emit("run_started", run="toy", output="", versions={})
    tell(log)
    tiny.wait_until(lambda: {name for name, _ in scraped(endpoint)} == EXPORTED, 60, "all metrics")
    said = scraped(endpoint)
    assert said["ray_raydc_image_steps_per_second", "relabel"] > 0
    assert {name: value for (name, stage), value in said.items() if stage == "relabel" and "per" not in name} == {
        "ray_raydc_units_done_total": 2,
        "ray_raydc_unit_seconds_total": 5,
        "ray_raydc_image_steps_total": 600,
        "ray_raydc_bytes_written_total": 2**21,
        "ray_raydc_retries_total": 1,
        "ray_raydc_failed_total": 1,
        "ray_raydc_handed_back_total": 1,
        "ray_raydc_copies_total": 1,
        "ray_raydc_nodes_avoided_total": 1,
        "ray_raydc_units": 9,
        "ray_raydc_queue": 5,
        "ray_raydc_workers": 5,
        "ray_raydc_nodes": 3,
    }
    assert said["ray_raydc_bytes_written_total", "pack"] == 1000
    assert said["ray_raydc_queue", "pack"] == said["ray_raydc_workers", "pack"] == 0


def test_without_ray_nothing_is_counted_and_nothing_breaks(tmp_path: Path) -> None:
    with EventLog(Folder(str(tmp_path)), [Metrics()]) as log:
        log.emit("run_started", run="toy", output="", versions={})
        tell(log)
        log.tick()
        log.emit("run_done")


def test_every_metric_comes_from_some_event() -> None:
    numbers = {"seconds": 1.0, "image_steps": 1, "bytes": 1}
    assert {name for kind in KINDS for name in counted({"kind": kind, **numbers})} == set(COUNTERS)
    assert set(levels(Status(nodes=1))) == set(GAUGES)


@pytest.mark.parametrize("lacking", ["seconds", "image_steps", "bytes"])
def test_what_an_event_does_not_say_counts_as_nothing(lacking: str) -> None:
    assert sum(counted({"kind": "unit_done", lacking: None}).values()) == 1


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [t["expr"] for panel in board["panels"] for t in panel["targets"]]
    assert {name for query in asked for name in re.findall(r"\bray_\w+", query)} == EXPORTED
    for query in asked:
        assert len(re.findall(r'\{run=~"\$run", stage=~"\$stage"\}', query)) == len(re.findall(r"\bray_\w+", query))
        assert all(query.count(a) == query.count(b) for a, b in ("()", "{}", "[]"))


def test_the_dashboard_can_be_imported() -> None:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text())
    assert board["schemaVersion"] >= 39 and board["uid"] and board["title"]
    assert [v["name"] for v in board["templating"]["list"]] == ["datasource", "run", "stage"]
    panels = board["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    taken = [(x, y) for p in panels for x in across(p) for y in down(p)]
    assert len(set(taken)) == len(taken), "panels lie on one another"
    assert max(x for x, _ in taken) < 24 and all(p["datasource"]["uid"] == "${datasource}" for p in panels)


def across(panel: dict[str, Any]) -> range:
    return range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])


def down(panel: dict[str, Any]) -> range:
    return range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])

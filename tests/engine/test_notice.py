"""The watcher of a spot machine before clouds of our own; that the cluster heeds it is shown in tests/cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone

import pytest

from raydc.engine import metadata as clouds
from raydc.engine import notice as watcher
from raydc.engine.metadata import Notice, detect
from raydc.engine.notice import await_notice, find_cluster, leave, main
from raydc.errors import ClusterError
from tests.cluster.cloud import Metadata, metadata_server

ACTION = {"action": "terminate", "time": "2030-01-02T03:04:05Z"}


@pytest.fixture(params=["aws", "gce"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    with metadata_server(request.param) as found:
        for name, value in found.variables.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cloud at all."""
    for name, value in Metadata("none").variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(clouds, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(logging, "basicConfig", lambda **options: None)  # it would outlive the test


only_aws = pytest.mark.parametrize("cloud", ["aws"], indirect=True)


def pauses(*steps: Callable[[], None]) -> Callable[[float], None]:
    """A sleep that lets something happen in each pause; more pauses than steps are a failure."""
    rest = iter(steps)
    return lambda seconds: next(rest)()


def test_a_machine_knows_its_cloud_and_waits_for_its_notice(cloud: Metadata) -> None:
    here = detect()
    assert here is not None and here.name.lower() == cloud.cloud and here.notice() is None
    found = await_notice(here, pauses(lambda: None, lambda: setattr(cloud, "notice", ACTION)))
    assert "spot" in found.text and found.deadline is not None


@only_aws
def test_aws_says_when_and_what(cloud: Metadata) -> None:
    here = detect()
    assert here is not None
    cloud.notice = ACTION
    assert here.notice() == Notice(
        "spot instance: terminate", datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()
    )
    cloud.notice = {"action": "stop"}
    found = here.notice()
    assert found is not None and found.deadline == pytest.approx(time.time() + 120, abs=10)


@pytest.mark.parametrize("cloud", ["gce"], indirect=True)
def test_google_gives_half_a_minute(cloud: Metadata) -> None:
    here = detect()
    cloud.notice = ACTION
    assert here is not None
    found = here.notice()
    assert found is not None and found.deadline == pytest.approx(time.time() + 30, abs=10)


@only_aws
def test_a_token_that_has_expired_is_renewed(cloud: Metadata) -> None:
    here = detect()
    cloud.expire()
    cloud.notice = ACTION
    assert here is not None and here.notice() is None
    assert here.notice() is not None and cloud.asked[-1] == ("GET /latest/meta-data/spot/instance-action", 200)


@only_aws
@pytest.mark.parametrize("asked_for", [True, False])
def test_a_recommendation_counts_where_asked_for(cloud: Metadata, asked_for: bool) -> None:
    here = detect(rebalance=asked_for)
    cloud.rebalance = {"noticeTime": "2030-01-02T03:04:05Z"}
    assert here is not None
    found = here.notice()
    assert found == (Notice("spot instance: rebalance recommendation", None) if asked_for else None)


def test_a_server_that_fails_for_a_while_is_asked_on(cloud: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clouds, "POLL_SECONDS", 0.0)
    cloud.failing = 2
    here = detect()
    assert here is not None and here.name.lower() == cloud.cloud
    cloud.notice = ACTION
    cloud.failing = 2
    assert await_notice(here, pauses(lambda: None, lambda: None)).text


def test_a_server_that_is_gone_for_a_while_is_asked_on(cloud: Metadata) -> None:
    here = detect()
    assert here is not None
    url, here.url = here.url, "http://127.0.0.1:9"
    cloud.notice = ACTION
    assert await_notice(here, pauses(lambda: None, lambda: setattr(here, "url", url))).text


def test_a_machine_outside_of_a_cloud_goes_on_without(nowhere: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert main(["--address", "127.0.0.1:9"]) == 0
    assert "nothing to watch" in caplog.text


def test_leaving_is_tried_until_the_machine_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    drained: list[tuple[str, str, Notice]] = []
    known: list[str] = []
    monkeypatch.setattr(watcher, "nodes_here", lambda address, ip: list(known))
    monkeypatch.setattr(watcher, "drain", lambda *call: drained.append(call))
    notice = Notice("spot", time.time() + 60)
    leave(notice, "head:6379", None, pauses(lambda: None, lambda: known.extend(["a", "b"])))
    assert drained == [("head:6379", "a", notice), ("head:6379", "b", notice)]
    known.clear()
    with pytest.raises(ClusterError, match="no worker node of the cluster at head:6379"):
        leave(Notice("spot", time.time()), "head:6379", None)


def test_the_cluster_is_named_by_argument_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert find_cluster() == "head:6379" and find_cluster("other:1") == "other:1"
    for wrong in ("ray://head:10001", "head"):
        with pytest.raises(ClusterError, match="give --address HOST:PORT"):
            find_cluster(wrong)

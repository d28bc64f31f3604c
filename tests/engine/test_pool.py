"""The pool on a real Ray: every unit once, whatever dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from raydc.engine.pool import Outcome, Pool, crew, losses
from raydc.errors import ClusterError, DataError, StorageError
from tests import tiny
from tests.engine.actors import Log, Toy, Unit

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that notices within two seconds that a node is gone."""
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    with tiny.ray_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        # A thread of a failed test must not join another Ray of this machine when its own is gone.
        patch.setattr("ray._private.auto_init_hook.enable_auto_connect", False)
        node = {"object_store_memory": 80 * 2**20, "include_dashboard": False, "num_cpus": 2, "resources": {"seat": 1}}
        found = Cluster(initialize_head=True, head_node_args={**node, "_system_config": health})
        try:
            ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
            yield found
        finally:
            ray.shutdown()
            found.shutdown()
            tiny.gone(folder)


class Bench:
    """A pool of toys, and what it did."""

    def __init__(self, folder: Path) -> None:
        self.log = Log(str(folder))
        self.done: dict[str, str] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.avoided: list[frozenset[str]] = []

    def run(
        self,
        units: list[Unit],
        size: int = 2,
        attempts: int = 3,
        boot: tuple[Any, ...] = (),
        seats: Iterable[str] = repeat(""),
        speculate: bool = False,
    ) -> Outcome[Unit]:
        """Work through the units; ``seats`` are resources that one actor after another asks for."""
        toy, wanted = ray.remote(Toy), iter(seats)

        def make(avoid: frozenset[str]) -> Any:
            seat = next(wanted)
            options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 4, "resources": {seat: 1} if seat else {}}
            self.avoided.append(avoid)
            return toy.options(**options).remote(self.log, *boot)

        emit = lambda kind, **fields: self.events.append((kind, fields))  # noqa: E731
        return Pool(make, size, attempts, self._done, emit, speculate).run(units)

    def _done(self, unit: Unit, receipt: str) -> None:
        assert unit.id not in self.done
        self.done[unit.id] = receipt

    def retries(self) -> list[tuple[str, int]]:
        return [(f["unit"], f["attempt"]) for f in self.said("unit_retried")]

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [fields for k, fields in self.events if k == kind]

    def alive(self) -> list[str]:
        """The processes of actors that live."""
        return [pid for pid in self.log.of("boot") if psutil.pid_exists(int(pid))]

    def times(self, unit: str) -> int:
        return len(self.log.of(unit))


@pytest.fixture
def bench(cluster: Cluster, tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def some(count: int, **fields: Any) -> list[Unit]:
    return [Unit(f"u{n}", **fields) for n in range(count)]


def beside(work: Callable[[], Any]) -> threading.Thread:
    """Run something beside this thread: only the main thread may change the cluster."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_every_unit_is_done_exactly_once(bench: Bench) -> None:
    units = some(20, seconds=0.1)
    assert bench.run(units).failed == {}
    assert bench.done == {u.id: f"{u.id} is done" for u in units}
    assert [bench.times(u.id) for u in units] == [1] * 20
    assert len(bench.log.of("boot")) == 2 and bench.retries() == []
    assert max(f["count"] for kind, f in bench.events if kind == "workers") == 2


def test_there_are_no_more_actors_than_units(bench: Bench) -> None:
    assert bench.run(some(1), size=5).failed == {}
    assert len(bench.log.of("boot")) == 1


def test_nothing_to_do_starts_nothing(bench: Bench) -> None:
    assert bench.run([]).failed == {} and bench.log.of("boot") == []


def test_the_unit_of_an_actor_that_dies_is_retried_on_another(bench: Bench) -> None:
    assert bench.run([Unit("fatal", "die", times=1), *some(4)]).failed == {}
    assert set(bench.done) == {"fatal", "u0", "u1", "u2", "u3"}
    assert len(set(bench.log.of("fatal"))) == 2, "retried in the process that died"
    assert bench.retries() == [("fatal", 1)] and [bench.times(f"u{n}") for n in range(4)] == [1] * 4


def test_a_unit_that_kills_every_actor_is_given_up_and_the_others_are_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "VERDICT_SECONDS", 2.0)
    failed = bench.run([Unit("fatal", "die"), *some(4)], attempts=2).failed
    assert list(failed) == ["fatal"] and "died" in str(failed["fatal"])
    assert bench.times("fatal") == 2 and set(bench.done) == {"u0", "u1", "u2", "u3"}
    assert [(f["unit"], f["attempt"]) for f in bench.said("unit_failed")] == [("fatal", 2)]


def test_a_unit_that_raises_is_retried_in_a_fresh_process(bench: Bench) -> None:
    # What broke it may be the state of the process, or of its device: no other unit may meet it.
    failed = bench.run([Unit("bad", "raise"), *some(2)], size=1, attempts=2).failed
    assert list(failed) == ["bad"] and repr(failed["bad"]) == "RuntimeError('kaput')"
    assert len(set(bench.log.of("bad"))) == 2 and set(bench.done) == {"u0", "u1"}
    assert bench.retries() == [("bad", 1)]


def test_a_unit_with_bad_input_is_not_tried_again_and_its_actor_works_on(bench: Bench) -> None:
    failed = bench.run([Unit("bad", "refuse"), *some(2)], size=1).failed
    assert list(failed) == ["bad"] and isinstance(failed["bad"], DataError)
    assert str(failed["bad"]) == "an image is broken"
    assert bench.times("bad") == 1 and len(bench.log.of("boot")) == 1 and set(bench.done) == {"u0", "u1"}


def test_a_storage_that_was_away_is_tried_again_by_the_same_actor(bench: Bench) -> None:
    assert bench.run([Unit("away", "lose storage", times=2), *some(1)], size=1).failed == {}
    assert bench.retries() == [("away", 1), ("away", 2)] and len(bench.log.of("boot")) == 1
    failed = bench.run([Unit("gone", "lose storage")], size=1, attempts=2).failed
    assert isinstance(failed["gone"], StorageError) and bench.times("gone") == 2


def test_an_actor_makes_the_next_unit_while_it_commits_one(bench: Bench) -> None:
    assert (
        bench.run([Unit("first", commits="after the next"), Unit("next", commits="slow"), *some(1)], size=1).failed
        == {}
    )
    assert set(bench.done) == {"first", "next", "u0"} and len(bench.log.of("boot")) == 1


def test_the_last_commits_are_waited_for(bench: Bench) -> None:
    units = [Unit(f"u{n}", commits="slow") for n in range(3)]
    assert bench.run(units, size=2).failed == {}
    assert len(bench.done) == 3 and [bench.times(f"u{n}-commit") for n in range(3)] == [1] * 3
    tiny.wait_until(lambda: not bench.alive(), 20, "the actors to end")


@pytest.mark.parametrize(("commits", "times"), [("lose storage", 2), ("raise", 2)])
def test_a_unit_whose_commit_fails_is_made_again(bench: Bench, commits: str, times: int) -> None:
    assert bench.run([Unit("bad", commits=commits, times=times), *some(3, seconds=0.2)], size=1).failed == {}
    assert bench.retries() == [("bad", 1), ("bad", 2)] and bench.times("bad") == 3
    processes = len(set(bench.log.of("bad")))
    assert processes == (3 if commits == "raise" else 1), "what broke one commit may break the next"
    assert set(bench.done) == {"bad", "u0", "u1", "u2"} and [bench.times(f"u{n}") for n in range(3)] == [1] * 3


def test_a_commit_that_finds_bad_input_is_reported_and_the_others_are_done(bench: Bench) -> None:
    failed = bench.run([Unit("bad", commits="refuse"), *some(2)], size=1).failed
    assert list(failed) == ["bad"] and str(failed["bad"]) == "the objective is not finite"
    assert set(bench.done) == {"u0", "u1"} and len(bench.log.of("boot")) == 1


def test_an_actor_that_dies_between_two_units_loses_neither(bench: Bench) -> None:
    units = [Unit("first", commits="die", times=1), Unit("next", seconds=1.0), *some(2)]
    assert bench.run(units, size=1).failed == {}
    assert set(bench.done) == {"first", "next", "u0", "u1"} and set(bench.retries()) == {("first", 1), ("next", 1)}
    assert bench.times("u0") == bench.times("u1") == 1


def test_a_unit_that_kills_its_actor_takes_no_other_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was just made is lost with the actor, and is not made beside the same one again."""
    monkeypatch.setattr(losses, "VERDICT_SECONDS", 2.0)
    failed = bench.run([Unit("made", commits="slow"), Unit("fatal", "die"), *some(1)], size=1, attempts=2).failed
    assert list(failed) == ["fatal"] and set(bench.done) == {"made", "u0"}


def test_bad_input_that_stops_an_actor_from_starting_is_reported_at_once(bench: Bench) -> None:
    with pytest.raises(DataError, match=r"^the class list is empty$"):
        bench.run(some(2), size=1, boot=("refuse", 1, 99))
    assert len(bench.log.of("boot")) == 1


@pytest.mark.parametrize(("boot", "said"), [("raise", "no such library"), ("die", "died")])
def test_actors_that_never_start_are_given_up_after_three_times(bench: Bench, boot: str, said: str) -> None:
    with pytest.raises(ClusterError, match="3 times in a row workers failed to start") as error:
        bench.run(some(2), size=1, boot=(boot, 1, 99))
    assert said in str(error.value) and "\n" not in str(error.value) and len(bench.log.of("boot")) == 3


def test_actors_that_die_together_while_they_start_count_as_one_failure(bench: Bench) -> None:
    assert bench.run(some(8), size=4, boot=("die", 1, 4)).failed == {}
    assert len(bench.done) == 8


def test_those_that_work_go_on_where_no_more_can_start(bench: Bench) -> None:
    assert bench.run(some(30, seconds=0.1), size=2, boot=("raise", 2, 99)).failed == {}
    assert len(bench.done) == 30
    assert 1 < len(bench.log.of("boot")) <= 4, "kept on starting what does not start"


def test_a_unit_that_is_handed_back_costs_no_attempt(bench: Bench) -> None:
    assert bench.run([Unit("long", "hand back", times=2), *some(3)], size=1, attempts=1).failed == {}
    assert bench.times("long") == 3 and len(bench.done) == 4 and bench.retries() == []
    assert len(set(bench.log.of("long"))) == 3, "an actor that hands its unit back is on its way out"


def test_idle_actors_are_let_go_while_the_last_unit_runs(bench: Bench) -> None:
    thread = beside(lambda: bench.run([Unit("long", "wait for a word"), *some(4, seconds=0.2)], size=3))
    tiny.wait_until(lambda: len(bench.done) == 4, 30, "the short units")
    tiny.wait_until(lambda: bench.alive() == bench.log.of("long"), 20, "the idle actors to end")
    bench.log.add("word", "end now")
    thread.join(60)
    assert "long" in bench.done and 2 <= len(bench.log.of("boot")) <= 3


def test_a_long_unit_says_how_far_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LOOK_SECONDS", 0.1)
    thread = beside(lambda: bench.run([Unit("long", "wait for a word")]))
    said = ("progress", {"text": "1 in flight, 25 % of the way"})
    tiny.wait_until(lambda: said in bench.events, 30, "a word about the unit")
    bench.log.add("word", "end now")
    thread.join(60)
    assert "long" in bench.done


def test_a_copy_on_an_idle_actor_overtakes_a_slow_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(crew, "TAIL_SECONDS", 0.2)
    units = [Unit("slow", "creep", times=1), *some(4, seconds=0.1)]
    assert bench.run(units, speculate=True).failed == {}
    assert len(bench.done) == 5 and bench.times("slow") == 2 and bench.retries() == []
    assert [f["unit"] for f in bench.said("unit_copied")] == [f["unit"] for f in bench.said("unit_outrun")] == ["slow"]


def test_of_two_that_commit_the_same_the_first_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is made first and is long in storing; the original, woken by it, is stored at once."""
    monkeypatch.setattr(crew, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(crew, "TAIL_SECONDS", 0.2)
    units = [Unit("twice", "wait for a word", "wake the other", times=1), *some(4, seconds=0.1)]
    assert bench.run(units, speculate=True).failed == {}
    assert len(bench.done) == 5 and bench.times("twice") == bench.times("twice-commit") == 2
    assert [f["unit"] for f in bench.said("unit_outrun")] == ["twice"] and bench.retries() == []
    tiny.wait_until(lambda: not bench.alive(), 3, "the slower one to end before it has stored anything")


def test_no_copies_are_made_where_they_are_not_asked_for(bench: Bench) -> None:
    assert bench.run([Unit("long", seconds=3), *some(2)]).failed == {}
    assert bench.times("long") == 1


def test_no_actor_is_left(bench: Bench) -> None:
    bench.run(some(3), size=3)
    tiny.wait_until(lambda: not bench.alive(), 20, "the actors to end")


@pytest.fixture
def node(cluster: Cluster) -> Iterator[Any]:
    """A second machine with two seats; the head has one."""
    added = cluster.add_node(num_cpus=1, resources={"seat": 2, "away": 1}, object_store_memory=80 * 2**20)
    yield added
    if added in cluster.worker_nodes:
        cluster.remove_node(added)


def test_a_node_that_is_lost_takes_no_unit_with_it(bench: Bench, cluster: Cluster, node: Any) -> None:
    found: list[Outcome[Unit]] = []
    units = some(16, seconds=0.3)
    # One attempt for each: the loss of a machine is not the fault of what ran on it.
    thread = beside(lambda: found.append(bench.run(units, size=3, attempts=1, seats=repeat("seat"))))
    tiny.wait_until(lambda: len(bench.log.of("boot")) == 3 and len(bench.done) > 2, 30, "three actors at work")
    cluster.remove_node(node, allow_graceful=False)
    thread.join(60)
    assert found and found[0].failed == {} and len(bench.done) == 16
    assert 1 <= len(bench.retries()) <= 2, "the units of the lost node, and no others, are done again"


def test_a_node_that_is_told_to_leave_hands_its_units_back(bench: Bench, cluster: Cluster, node: Any) -> None:
    found: list[Outcome[Unit]] = []
    units = [Unit("long", "wait for a notice", times=1), *some(2)]
    thread = beside(lambda: found.append(bench.run(units, size=1, attempts=1, seats=["away", "seat"])))
    tiny.wait_until(lambda: bench.times("long"), 30, "the long unit to begin")
    drain(cluster, node)
    thread.join(60)
    assert found and found[0].failed == {} and bench.retries() == []
    assert bench.done == {"long": "long is done", "u0": "u0 is done", "u1": "u1 is done"}
    assert bench.times("long") == 2


def test_a_node_where_every_unit_fails_is_avoided(bench: Bench, node: Any) -> None:
    bench.log.add("broken", node.node_id)
    assert bench.run(some(30, does="fail there"), size=3, attempts=9, seats=repeat("seat")).failed == {}
    assert len(bench.done) == 30
    assert [f["node"] for f in bench.said("node_avoided")] == [node.node_id]
    assert bench.avoided[0] == frozenset() and bench.avoided[-1] == {node.node_id}


def drain(cluster: Cluster, node: Any) -> None:
    """Give a node the notice that a cloud gives before it takes a spot machine."""
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

    deadline = int((time.time() + 60) * 1000)
    reason = autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION
    accepted, why = GcsClient(address=cluster.gcs_address).drain_node(node.node_id, reason, "spot notice", deadline)
    assert accepted, why

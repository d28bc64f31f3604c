"""What an error in an actor says when it arrives at the driver."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from raydc.config import dump
from raydc.config.load import merge, validate
from raydc.engine.context import UnitError, config_line, working_on
from raydc.engine.failures import root_cause
from raydc.engine.run import Run
from raydc.errors import ClusterError, ConfigError, DataError, RaydcError, StorageError
from tests import tiny
from tests.engine.broken import BLOCK, Broken

# Ray's own: it leaves files and sockets of its processes to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def run_at(url: str) -> Run:
    return Run(validate(merge(tiny.TREE, {"output": url}), "a test"), url)


def test_an_error_in_an_actor_arrives_with_run_block_classes_step_and_config_line(tmp_path: Path) -> None:
    run = run_at(str(tmp_path / "run"))
    line = dump(run.config).splitlines().index("  steps: 60") + 1
    head = (
        f"run tiny, {BLOCK}, classes 0, 1, 2, 3, 4 and 4 more, step 37 of 60, "
        f"{tmp_path}/run/run.yaml:{line} (synthesize.steps): "
    )
    wanted: dict[str, tuple[type[RaydcError], str]] = {
        "input": (DataError, "an image is broken"),
        "storage": (StorageError, "s3://bucket did not answer for 600 s"),
        "inner": (ConfigError, "no such layer"),
        "device": (UnitError, "RuntimeError at broken.py:"),
        "odd": (UnitError, "Odd at broken.py:"),
    }
    with tiny.ray_here():
        actor = ray.remote(Broken).options(num_cpus=0).remote(run)
        for failing, (kind, said) in wanted.items():
            with pytest.raises(Exception) as caught:
                ray.get(actor.work.remote(failing))
            cause = root_cause(caught.value)
            assert type(cause) is kind, failing
            assert str(cause).startswith(head + said), str(cause)
            assert "\n" not in str(cause)
    assert str(cause).endswith(": code 719")


def test_what_was_raised_here_is_the_cause_and_what_went_well_is_left_alone(tmp_path: Path) -> None:
    run = run_at(str(tmp_path))
    with pytest.raises(UnitError) as caught, working_on(run, "shard 3", "relabel"):
        raise MemoryError("no 4 GB")
    assert isinstance(caught.value.__cause__, MemoryError) and isinstance(caught.value, ClusterError)
    assert ", shard 3, " in str(caught.value) and caught.value.exit_code == 4
    with working_on(run, "shard 4", "relabel"):
        pass
    with pytest.raises(KeyboardInterrupt), working_on(run, "shard 5", "relabel"):
        raise KeyboardInterrupt


def test_a_message_spells_no_secret_and_names_the_whole_config_where_it_knows_no_line() -> None:
    run = run_at("s3://me:secret@bucket/run")
    assert config_line(run, "nowhere") == "s3://***@bucket/run/run.yaml (nowhere)"
    with pytest.raises(UnitError) as caught, working_on(run, BLOCK, "synthesize"):
        raise OSError("cannot reach https://me:secret@store/part")
    assert "secret" not in str(caught.value)

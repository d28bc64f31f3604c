"""State dicts from elsewhere: read without running code, matched or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from raydc.config.stages.networks import Arch
from raydc.errors import DataError
from raydc.keys import Key
from raydc.teachers.checkpoint import match, pack, read_state, unpack
from raydc.teachers.networks import build

RESNET = Arch(use="small", name="resnet", options={"widths": [4, 8], "blocks": [1, 1]})


def network(seed: int = 0, classes: int = 6) -> nn.Module:
    return build(RESNET, classes, 16, Key((seed,)))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 9}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_common_torch_files_are_read(tmp_path: Path, wrap, prefix: str) -> None:
    state = network().state_dict()
    torch.save(wrap({prefix + k: v for k, v in state.items()}), tmp_path / "w.pth")
    assert equal(match(read_state(str(tmp_path / "w.pth")), network(1)), state)


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = network().state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    assert equal(match(read_state(str(tmp_path / "w.safetensors")), network(1)), state)


class Bomb:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (Path.touch, (Path("fired"),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth' is not a plain state dict: reading it would run code"):
        read_state(str(tmp_path / "w.pth"))
    assert not (tmp_path / "fired").exists()


def test_what_asks_for_code_is_named_and_torch_does_not_advise_to_run_it(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"asks for torch\.nn\.modules\.linear\.Linear.*state_dict\(\)") as told:
        read_state(str(tmp_path / "w.pth"))
    assert "weights_only" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("data", [b"", b"a\n", b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1"])
def test_what_is_no_checkpoint_at_all_is_shown(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(DataError, match=rf"neither safetensors nor a torch file: {len(data)} bytes that begin with b'"):
        read_state(str(tmp_path / "w.pth"))


@pytest.mark.parametrize("cut", [0, 3, 100, -10])
@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_a_cut_file_is_refused(tmp_path: Path, form: str, cut: int) -> None:
    file = tmp_path / f"w.{form}"
    safetensors.torch.save_file(network().state_dict(), file) if form == "safetensors" else torch.save(
        network().state_dict(), file
    )
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(DataError, match=f"w.{form}"):
        read_state(str(file))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing.pth"):
        read_state(str(tmp_path / "nothing.pth"))


@pytest.mark.parametrize("tree", [[1, 2], {}, {"weight": torch.zeros(1), "epoch": 3}, torch.zeros(3)])
def test_files_that_hold_something_else_are_refused(tmp_path: Path, tree: object) -> None:
    torch.save(tree, tmp_path / "w.pth")
    with pytest.raises(DataError, match="state dict"):
        read_state(str(tmp_path / "w.pth"))


def test_tensors_are_matched_by_order_where_names_differ() -> None:
    state = network().state_dict()
    renamed = {f"x{i}": v for i, (k, v) in enumerate(state.items()) if not k.endswith("num_batches_tracked")}
    found = match(renamed, network(1), "by_order")
    assert all(torch.equal(found[k], v) for k, v in state.items() if not k.endswith("num_batches_tracked"))


def test_step_counters_may_be_missing_and_floats_take_the_networks_type() -> None:
    state = {k: v.half() for k, v in network().state_dict().items() if not k.endswith("num_batches_tracked")}
    fresh = network(1)
    fresh.load_state_dict(match(state, fresh))
    assert {p.dtype for p in fresh.parameters()} == {torch.float32}


def test_what_does_not_fit_is_named() -> None:
    state = network().state_dict()
    lacking = {k: v for k, v in state.items() if k != "head.bias"} | {"extra.weight": torch.zeros(1)}
    with pytest.raises(DataError, match=r"hub does not fit.*1 missing \(head.bias\) and 1 unexpected \(extra.weight\)"):
        match(lacking, network(), origin="hub")
    with pytest.raises(DataError, match="matched by order"):
        match(dict(list(state.items())[5:]), network(), "by_order")
    state["stem.0.weight"] = torch.zeros(5, 3, 3, 3)
    with pytest.raises(DataError, match=r"stem.0.weight: \[5, 3, 3, 3\] for \[4, 3, 3, 3\]"):
        match(state, network())


def test_another_number_of_classes_is_told_as_such() -> None:
    with pytest.raises(DataError, match="hub has 6 outputs, expected 4 classes.*names of all 6"):
        match(network(classes=6).state_dict(), network(classes=4), origin="hub")


def test_packed_states_are_equal_bytes_for_equal_content() -> None:
    shared = torch.arange(4.0)
    tensors = {"b": shared, "a": shared, "n": torch.tensor(3)}
    data = pack(tensors, {"epoch": 2, "list": [1, None]})
    assert data == pack(dict(reversed(tensors.items())), {"list": [1, None], "epoch": 2})
    found, numbers = unpack(data)
    assert torch.equal(found["a"], shared)
    assert numbers == {"epoch": 2, "list": [1, None]}
    with pytest.raises(DataError, match="part.safetensors is not a whole state file"):
        unpack(data[:-3], "part.safetensors")

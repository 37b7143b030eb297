"""Reader of safetensors files: equal to the library's, large arrays mapped."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save_file

from model.bundle.safetensors_reader import MIN_MAPPED_BYTES, parse_tensors, read_file

TABLE = np.arange(MIN_MAPPED_BYTES // 4 + 1, dtype=np.float32)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tensors") / "weights.safetensors"
    small = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"table": TABLE, "small": small, "none": np.zeros((0, 4), np.float32)}, path, {"of": "a test"})
    return path


def test_arrays_equal_those_of_the_safetensors_library(large: Path) -> None:
    ours, theirs = parse_tensors(read_file(large)), load(large.read_bytes())
    assert set(ours) == set(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) and ours[name].dtype == np.float32 for name in ours)


def test_large_table_is_mapped_copy_on_write(large: Path) -> None:
    before = large.read_bytes()
    table = parse_tensors(read_file(large))["table"]
    assert table.sum(dtype=np.float64) == TABLE.sum(dtype=np.float64)  # all of its pages are here now
    mapped = _mapped(large)
    assert mapped["Rss"] >= MIN_MAPPED_BYTES // 1024
    assert mapped["Anonymous"] == 0  # pages that only this process has
    table[:] = 0
    assert _mapped(large)["Anonymous"] >= MIN_MAPPED_BYTES // 1024
    assert large.read_bytes() == before


def test_small_arrays_are_copied(large: Path) -> None:
    data = read_file(large)
    assert isinstance(data, mmap.mmap)
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


def _mapped(path: Path) -> dict[str, int]:
    """Kilobytes of this process' mappings of `path`, by kernel counter."""
    if not Path("/proc/self/smaps").exists():
        pytest.skip("only Linux tells what its mappings hold")
    totals: dict[str, int] = {}
    within = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *words = line.split()
        if not name.endswith(":"):
            within = line.endswith(str(path))
        elif within and words[-1] == "kB":
            totals[name[:-1]] = totals.get(name[:-1], 0) + int(words[0])
    return totals

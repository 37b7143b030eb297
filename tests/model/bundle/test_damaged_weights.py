"""Weights files that are not safetensors are refused, and never executed."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.bundle.bundle import WEIGHTS
from tests.model.bundle.damage import NORM, refused, reseal


@pytest.mark.parametrize("size", [1 << 19, 1 << 21, 1 << 40, 2**64 - 1])
def test_invalid_or_oversized_weights_header_is_refused(folder: Path, size: int) -> None:
    """A reader would allocate memory for the stated header size."""
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", size) + b" " * min(size, 1 << 21))
    reseal(folder)
    assert WEIGHTS in refused(folder)


def entry_with(**entry: Any) -> str:
    whole = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | entry
    return json.dumps({NORM: whole})


@pytest.mark.parametrize(
    "header",
    [
        entry_with(shape=[10**30], data_offsets=[0, 4 * 10**30]),
        entry_with(shape=[10**30, 0], data_offsets=[0, 0]),
        entry_with(shape=[10**30, 0], data_offsets=[10**30, 10**30]),
        entry_with(shape=[1e30], data_offsets=[0, 4e30]),
        entry_with(shape=[float("inf")], data_offsets=[0, float("inf")]),
        entry_with(shape=[float("nan")]),
        entry_with(shape=[10**12, "a"]),
        entry_with(shape=[2] * 100_000),
        entry_with(dtype="x" * 100_000),
        entry_with(**{"two\nlines": 1}),
        json.dumps({NORM: 1}),
        "[]",
    ],
    ids=lambda header: header[:60],
)
def test_weights_header_beyond_the_file_is_refused(folder: Path, header: str) -> None:
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(16))
    reseal(folder)
    assert "safetensors" in refused(folder)


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._mark),)


def test_pickle_instead_of_weights_is_refused_and_not_executed(folder: Path) -> None:
    mark = folder.parent / "ran"
    (folder / WEIGHTS).write_bytes(pickle.dumps(Payload(mark)))
    reseal(folder)
    assert "safetensors" in refused(folder)
    assert not mark.exists()

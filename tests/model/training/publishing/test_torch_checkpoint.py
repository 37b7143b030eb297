"""Checkpoints with harmful pickles and false descriptions of tensors."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ingest.errors import DataError
from model.training.publishing.torch_checkpoint import TorchCheckpoint


def with_pickle(path: Path, data: bytes, source: Path | None = None) -> Path:
    """Write a checkpoint with the pickle `data` and the storages of `source`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        if source is not None:
            with zipfile.ZipFile(source) as other:
                for name in other.namelist():
                    if "/data/" in name:
                        archive.writestr("archive/" + name.split("/", 1)[1], other.read(name))
    return path


# Each would do harm in pickle.loads. All are rejected: none of them holds a state dict.
HARMFUL_PICKLES = {
    "os.system": b"cos\nsystem\n(S'touch RAN'\ntR.",
    "builtins.exec": b'cbuiltins\nexec\n(S\'open("RAN","w")\'\ntR.',
    "new object": b"\x80\x02csubprocess\nPopen\n(]S'touch'\naS'RAN'\natR.",
    "inst": b"(S'touch RAN'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'touch RAN'\no.",
    "setstate of a class": b"\x80\x02cany\nThing\n(N}X\x01\x00\x00\x00aK\x01stb.",
    "setstate of a builder": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x07\x00\x00\x00storageK\x01sb.",
    "item of a class": b"\x80\x02cany\nThing\nK\x01K\x02s.",
    "persistent id as text": b"Psystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "memory by memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "memory by bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "memory by bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "many names": b"\x80\x02" + b"".join(b"cm\nn%d\n0" % n for n in range(20_000)) + b"N.",
    "nothing": b"",
    "not a pickle": b"PK\x03\x04 hello",
    "no state dict": pickle.dumps({"config": 1}),
    "a state dict of other things": pickle.dumps({"state_dict": {"item_embedding.weight": [1, 2]}}),
}


@pytest.mark.parametrize("data", HARMFUL_PICKLES.values(), ids=HARMFUL_PICKLES.keys())
def test_harmful_pickle_raises_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    with TorchCheckpoint(with_pickle(tmp_path / "a.pth", data)) as checkpoint, pytest.raises(DataError) as raised:
        checkpoint.tensors()
    assert "a.pth" in str(raised.value)
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize("name", ["memory by memo", "memory by bytearray", "extension"])
def test_pickle_that_would_reserve_memory_is_rejected_before_loading(tmp_path: Path, name: str) -> None:
    path = with_pickle(tmp_path / "a.pth", HARMFUL_PICKLES[name])
    message = r"asks for memory|which no checkpoint needs|damaged pickle: ValueError"
    with TorchCheckpoint(path) as checkpoint, pytest.raises(DataError, match=message):
        checkpoint.tensors()


def describing(storage: object, *tensor: object) -> bytes:
    """Pickle a state dict whose one tensor is described by these values."""

    class Described:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Storage(), *tensor, False, None)

    class Storage:
        pass

    class Writer(pickle._Pickler):  # type: ignore[name-defined, misc]
        def persistent_id(self, thing: object) -> object:
            return storage if isinstance(thing, Storage) else None

    out = io.BytesIO()
    Writer(out, 2).dump({"state_dict": {"t": Described()}})
    return out.getvalue()


STORAGE = ("storage", torch.FloatStorage, "0", "cpu", 4)


FALSE_TENSORS = {
    "a storage that is not there": ((*STORAGE[:2], "7", "cpu", 4), 0, (4,), (1,)),
    "a storage outside": ((*STORAGE[:2], "../data.pkl", "cpu", 4), 0, (4,), (1,)),
    "beyond the storage": (STORAGE, 0, (5,), (1,)),
    "an offset beyond": (STORAGE, 2, (3,), (1,)),
    "a negative offset": (STORAGE, -1, (2,), (1,)),
    "a huge shape": (STORAGE, 0, (1 << 40,), (1,)),
    "a negative shape": (STORAGE, 0, (-4,), (1,)),
    "a shape of text": (STORAGE, 0, "four", (1,)),
    "no strides": (STORAGE, 0, (4,), None),
    "strides of zero": (STORAGE, 0, (1 << 20, 4), (0, 1)),
    "whole numbers": (("storage", torch.LongStorage, "0", "cpu", 4), 0, (4,), (1,)),
    "no storage": ("storage", 0, (4,), (1,)),
}


@pytest.mark.parametrize("described", FALSE_TENSORS.values(), ids=FALSE_TENSORS.keys())
def test_false_description_of_a_tensor_raises(tmp_path: Path, described: tuple[Any, ...]) -> None:
    torch.save({"t": torch.ones(4)}, tmp_path / "source.pth")
    path = with_pickle(tmp_path / "a.pth", describing(*described), tmp_path / "source.pth")
    with TorchCheckpoint(path) as checkpoint:
        tensors = checkpoint.tensors()
        with pytest.raises(DataError):
            checkpoint.array("t", tensors["t"])


def test_true_description_of_a_tensor_is_read(tmp_path: Path) -> None:
    torch.save({"t": torch.arange(4.0)}, tmp_path / "source.pth")
    path = with_pickle(tmp_path / "a.pth", describing(STORAGE, 1, (3,), (1,)), tmp_path / "source.pth")
    with TorchCheckpoint(path) as checkpoint:
        assert checkpoint.array("t", checkpoint.tensors()["t"]).tolist() == [1, 2, 3]


def test_compressed_archive_is_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N" * (1 << 22))
    with TorchCheckpoint(tmp_path / "bomb.pth") as checkpoint, pytest.raises(DataError, match="compressed or larger"):
        checkpoint.tensors()

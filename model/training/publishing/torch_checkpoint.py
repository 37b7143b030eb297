"""Reads a PyTorch checkpoint without executing anything in it.

A `.pth` is a zip archive: `data.pkl`, a pickle, and a file of raw numbers for each storage under `data/`. A pickle
can name any function and have it called. Here every name becomes either one of three builders of this file, which
only note what tensor is meant, or an empty class that keeps nothing: no named module is imported and no named thing
called. Numbers are read afterwards, for the tensors asked for, and only if their files have the sizes they claim.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from model.training.errors import DataError

_PICKLE_LIMIT = 16 << 20
_NAMES_LIMIT = 10_000
_TENSOR_LIMIT = 1 << 31  # numbers in one tensor
# What a checkpoint has no use for, and what makes an unpickler reserve memory by a number alone or look outside.
_REFUSED = frozenset(
    ("EXT1", "EXT2", "EXT4", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ", "PERSID")
)
# bfloat16 is the upper half of a float32.
_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2"}


class Inert:
    """Stands for everything that a pickle names or builds and that is not wanted. Takes all, does nothing."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - builders return other things
        """Ignore the arguments."""
        return object.__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None: ...

    # What the opcodes BUILD, SETITEM(S), APPEND(S) and ADDITEMS call. On the class itself they fail, as functions
    # that lack `self`, so no class of this file can be changed by a pickle.
    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None:
        """Keep nothing."""

    def extend(self, values: object) -> None:
        """Keep nothing."""

    def add(self, value: object) -> None:
        """Keep nothing."""

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return self is other


class TensorNote(Inert):
    """What a pickle says of one tensor, unchecked."""

    __slots__ = ("offset", "shape", "storage", "strides")
    storage: Any
    offset: Any
    shape: Any
    strides: Any

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        """Arguments of torch._utils._rebuild_tensor_v2: storage, offset, shape, strides, …"""
        note = object.__new__(cls)
        note.storage, note.offset, note.shape, note.strides = arguments[:4]
        return note


class _Parameter(Inert):
    """torch._utils._rebuild_parameter: the tensor itself."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        return arguments[0] if arguments and isinstance(arguments[0], TensorNote) else object.__new__(cls)


class _Ordered(Inert):
    """collections.OrderedDict: a plain dictionary."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        return _Dictionary()


class _Dictionary(dict[object, object]):
    def __setstate__(self, state: object) -> None:
        """Attributes such as a state dict's `_metadata` are not kept."""


class _Unpickler(pickle.Unpickler):
    _BUILDERS: ClassVar[dict[tuple[str, str], type]] = {
        ("torch._utils", "_rebuild_tensor_v2"): TensorNote,
        ("torch._utils", "_rebuild_parameter"): _Parameter,
        ("collections", "OrderedDict"): _Ordered,
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._found: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str, /) -> Any:  # noqa: ANN401
        """A builder of this file, or an empty class that remembers the name it stands for."""
        if (module, name) not in self._found:
            if len(self._found) >= _NAMES_LIMIT:
                raise pickle.UnpicklingError("too many names")
            placeholder = type("Placeholder", (Inert,), {"__slots__": (), "named": f"{module}.{name}"})
            self._found[module, name] = self._BUILDERS.get((module, name), placeholder)
        return self._found[module, name]

    def persistent_load(self, pid: Any, /) -> Any:  # noqa: ANN401
        """A storage's own description: ('storage', class, key, location, count)."""
        return pid


class Checkpoint:
    """An open `.pth`; a context manager. Raises `DataError` for whatever it cannot or will not read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise DataError(
                f"{path} is not a checkpoint of PyTorch 1.6 or later; load it there and save it again"
            ) from None
        pickles = [name for name in self._zip.namelist() if name.endswith("/data.pkl")]
        self._folder = pickles[0].removesuffix("data.pkl") if len(pickles) == 1 else ""

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def tensors(self) -> Mapping[str, TensorNote]:
        """The state dict by name: the entry `state_dict` of what was saved, or all of it."""
        data = self._file("data.pkl", _PICKLE_LIMIT)
        self._inspect(data)
        try:
            saved = _Unpickler(io.BytesIO(data)).load()
        except Exception as error:  # a pickle can fail in any way, and each means the same
            raise DataError(f"{self._path} holds a damaged pickle: {type(error).__name__}") from None
        if isinstance(saved, dict):
            saved = saved.get("state_dict", saved)
        if not isinstance(saved, dict) or not any(isinstance(value, TensorNote) for value in saved.values()):
            raise DataError(f"{self._path} holds no state_dict with tensors")
        return {n: value for n, value in saved.items() if isinstance(n, str) and isinstance(value, TensorNote)}

    def shape(self, name: str, note: TensorNote) -> tuple[int, ...]:
        """The shape that the tensor claims, of whole numbers within the limit."""
        shape = note.shape
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise DataError(f"{self._path}: {name} has no shape")
        if prod(shape) > _TENSOR_LIMIT or len(shape) > 8:
            raise DataError(f"{self._path}: {name} claims {prod(shape)} numbers, which no model here has")
        return shape

    def array(self, name: str, note: TensorNote) -> NDArray[np.float32]:
        """The numbers of a contiguous floating-point tensor."""
        shape = self.shape(name, note)
        storage, offset = note.storage, note.offset
        if not (isinstance(storage, tuple) and len(storage) == 5 and isinstance(storage[2], str)):
            raise DataError(f"{self._path}: {name} names no storage")
        kind = str(getattr(storage[1], "named", "")).removeprefix("torch.")
        if kind not in _DTYPES:
            raise DataError(
                f"{self._path}: {name} is stored as {kind or 'nothing known'}, not as floating-point numbers"
            )
        contiguous = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
        if note.strides != contiguous or type(offset) is not int or offset < 0:
            raise DataError(f"{self._path}: {name} is not contiguous; save the model's own state_dict")
        item = np.dtype(_DTYPES[kind]).itemsize
        data = self._file(f"data/{storage[2]}", _TENSOR_LIMIT * item)
        if len(data) < (offset + prod(shape)) * item:
            raise DataError(f"{self._path}: {name} needs more numbers than its storage holds")
        numbers = np.frombuffer(data, _DTYPES[kind], prod(shape), offset * item)
        if kind == "BFloat16Storage":
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32).reshape(shape)

    def _file(self, name: str, limit: int) -> bytes:
        try:
            entry = self._zip.getinfo(self._folder + name)
            # Stored as they are, files cannot be larger than the archive; PyTorch never compresses.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > min(limit, self._path.stat().st_size):
                raise DataError(f"{self._path}: {name} is compressed or larger than it can be")
            return self._zip.read(entry)
        except KeyError:
            raise DataError(f"{self._path} lacks the file {name}; it is no whole PyTorch checkpoint") from None
        except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError):
            raise DataError(f"{self._path}: {name} is damaged") from None

    def _inspect(self, data: bytes) -> None:
        """Refuse what would reserve memory before it fails: a slot of the memo far beyond the number of opcodes."""
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                if opcode.name in _REFUSED:
                    raise DataError(f"{self._path}: its pickle uses {opcode.name}, which no checkpoint needs")
                if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= count:
                    raise DataError(f"{self._path}: its pickle asks for memory that it does not use")
        except DataError:
            raise
        except Exception as error:  # as above
            raise DataError(f"{self._path} holds a damaged pickle: {type(error).__name__}") from None

"""Read a PyTorch checkpoint without executing anything in it.

A `.pth` is a zip archive with a pickle, `data.pkl`, and one file of raw numbers per storage under `data/`. A pickle
can name any function and have it called. Here every name becomes an inert class, or one of three builders of this
module that only record the description of a tensor. No named module is imported and nothing named is called. The
numbers are read afterwards, for the tensors asked for, and only if their files have the sizes that are claimed.
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

from ingest.errors import DataError

_MAX_PICKLE_BYTES = 16 << 20
_MAX_NAMES = 10_000
_MAX_TENSOR_NUMBERS = 1 << 31
_MAX_TENSOR_DIMENSIONS = 8
# Opcodes that no checkpoint needs; some reserve memory by a number alone, some look up things outside the pickle.
_REFUSED_OPCODES = frozenset(
    ("EXT1", "EXT2", "EXT4", "BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ", "PERSID")
)
# bfloat16 is the upper half of a float32.
_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2"}


class Inert:
    """Placeholder for everything in a pickle that is not needed."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401 - builders return other things
        """Create a placeholder; the arguments are ignored."""
        return object.__new__(cls)

    def __init__(self, *arguments: object, **named: object) -> None: ...

    # The opcodes BUILD, SETITEM(S), APPEND(S) and ADDITEMS call the following methods. Called on a class they fail,
    # because `self` is missing: no pickle can change a class of this module.
    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None:
        """Do nothing."""

    def extend(self, values: object) -> None:
        """Do nothing."""

    def add(self, value: object) -> None:
        """Do nothing."""

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return self is other


class TensorDescription(Inert):
    """Unchecked description of one tensor in the pickle."""

    __slots__ = ("offset", "shape", "storage", "strides")
    storage: Any
    offset: Any
    shape: Any
    strides: Any

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        """Take the arguments of torch._utils._rebuild_tensor_v2: storage, offset, shape, strides, ..."""
        tensor = object.__new__(cls)
        tensor.storage, tensor.offset, tensor.shape, tensor.strides = arguments[:4]
        return tensor


class _Parameter(Inert):
    """Builder for torch._utils._rebuild_parameter: returns the description of the tensor."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        return arguments[0] if arguments and isinstance(arguments[0], TensorDescription) else object.__new__(cls)


class _Ordered(Inert):
    """Builder for collections.OrderedDict: returns a plain dictionary."""

    __slots__ = ()

    def __new__(cls, *arguments: object, **named: object) -> Any:  # noqa: ANN401
        return _Dictionary()


class _Dictionary(dict[object, object]):
    def __setstate__(self, state: object) -> None:
        """Ignore attributes, such as the `_metadata` of a state dict."""


class _Unpickler(pickle.Unpickler):
    _BUILDERS: ClassVar[dict[tuple[str, str], type]] = {
        ("torch._utils", "_rebuild_tensor_v2"): TensorDescription,
        ("torch._utils", "_rebuild_parameter"): _Parameter,
        ("collections", "OrderedDict"): _Ordered,
    }

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._found: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str, /) -> Any:  # noqa: ANN401
        """Return a builder of this module, or an inert class.

        The inert class remembers the name.
        """
        if (module, name) not in self._found:
            if len(self._found) >= _MAX_NAMES:
                raise pickle.UnpicklingError("too many names")
            placeholder = type("Placeholder", (Inert,), {"__slots__": (), "named": f"{module}.{name}"})
            self._found[module, name] = self._BUILDERS.get((module, name), placeholder)
        return self._found[module, name]

    def persistent_load(self, pid: Any, /) -> Any:  # noqa: ANN401
        """Return the description of a storage: ('storage', class, key, location, count)."""
        return pid


class TorchCheckpoint:
    """An open `.pth`; a context manager.

    Raises `DataError` for what it cannot or refuses to read.
    """

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

    def __enter__(self) -> TorchCheckpoint:
        return self

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def tensors(self) -> Mapping[str, TensorDescription]:
        """Return the tensors of the state dict by name.

        The state dict is the entry `state_dict` if there is one, else everything.
        """
        data = self._read("data.pkl", _MAX_PICKLE_BYTES)
        self._check_opcodes(data)
        try:
            saved = _Unpickler(io.BytesIO(data)).load()
        except Exception as error:  # a damaged pickle can raise anything
            raise DataError(f"{self._path} holds a damaged pickle: {type(error).__name__}") from None
        if isinstance(saved, dict):
            saved = saved.get("state_dict", saved)
        if not isinstance(saved, dict) or not any(isinstance(value, TensorDescription) for value in saved.values()):
            raise DataError(f"{self._path} holds no state_dict with tensors")
        return {n: value for n, value in saved.items() if isinstance(n, str) and isinstance(value, TensorDescription)}

    def shape(self, name: str, tensor: TensorDescription) -> tuple[int, ...]:
        """Return the claimed shape, if it is plausible."""
        shape = tensor.shape
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise DataError(f"{self._path}: {name} has no shape")
        if prod(shape) > _MAX_TENSOR_NUMBERS or len(shape) > _MAX_TENSOR_DIMENSIONS:
            raise DataError(f"{self._path}: {name} claims {prod(shape)} numbers, more than any RecBLR model has")
        return shape

    def array(self, name: str, tensor: TensorDescription) -> NDArray[np.float32]:
        """Read a contiguous floating-point tensor as float32."""
        shape = self.shape(name, tensor)
        storage, offset = tensor.storage, tensor.offset
        if not (isinstance(storage, tuple) and len(storage) == 5 and isinstance(storage[2], str)):
            raise DataError(f"{self._path}: {name} names no storage")
        kind = str(getattr(storage[1], "named", "")).removeprefix("torch.")
        if kind not in _DTYPES:
            raise DataError(
                f"{self._path}: {name} is stored as {kind or 'an unknown type'}, not as floating-point numbers"
            )
        contiguous = tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))
        if tensor.strides != contiguous or type(offset) is not int or offset < 0:
            raise DataError(f"{self._path}: {name} is not contiguous; save the model's own state_dict")
        item = np.dtype(_DTYPES[kind]).itemsize
        data = self._read(f"data/{storage[2]}", _MAX_TENSOR_NUMBERS * item)
        if len(data) < (offset + prod(shape)) * item:
            raise DataError(f"{self._path}: {name} needs more numbers than its storage holds")
        numbers = np.frombuffer(data, _DTYPES[kind], prod(shape), offset * item)
        if kind == "BFloat16Storage":
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32).reshape(shape)

    def _read(self, name: str, limit: int) -> bytes:
        try:
            entry = self._zip.getinfo(self._folder + name)
            # PyTorch never compresses, so no file can be larger than the archive.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > min(limit, self._path.stat().st_size):
                raise DataError(f"{self._path}: {name} is compressed or larger than it can be")
            return self._zip.read(entry)
        except KeyError:
            raise DataError(f"{self._path} lacks the file {name}; it is not a complete PyTorch checkpoint") from None
        except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, NotImplementedError):
            raise DataError(f"{self._path}: {name} is damaged") from None

    def _check_opcodes(self, data: bytes) -> None:
        """Refuse opcodes that would reserve memory before unpickling fails.

        For example, a slot of the unpickler's memo far beyond the number of opcodes.
        """
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                if opcode.name in _REFUSED_OPCODES:
                    raise DataError(f"{self._path}: its pickle uses {opcode.name}, which no checkpoint needs")
                if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= count:
                    raise DataError(f"{self._path}: its pickle asks for memory that it does not use")
        except DataError:
            raise
        except Exception as error:  # as in `tensors`
            raise DataError(f"{self._path} holds a damaged pickle: {type(error).__name__}") from None

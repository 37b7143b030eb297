"""Snapshot of the catalogue's columns in a local file.

The file has the format safetensors, which any of its readers opens. It is written aside and renamed, has checksums of
every part, and is mapped: workers share the pages that they do not write to. A file that is damaged, too old, of
another release or of another user is ignored.
"""

from __future__ import annotations

import fcntl
import json
import logging
import mmap
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.core.column_snapshots import StoredColumns

_log = logging.getLogger(__name__)

FORMAT = "recblr columns 1"
MAX_AGE_SECONDS = 7 * 86_400.0
_HEADER_BYTES = 256 * 1024  # with the length; written last, so its room is kept free
_DTYPES = {"U8": np.uint8, "I8": np.int8, "I32": np.int32, "I64": np.int64, "F64": np.float64}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_SYNC_BYTES = 16 << 20  # so that the disk never has much to write at once: the event log waits for it too
_OTHERS_MAY_WRITE = 0o022


class ColumnFile:
    """See `service.core.column_snapshots.ColumnSnapshots`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> StoredColumns | None:
        """See `ColumnSnapshots.load`."""
        try:
            with self.path.open("rb") as file:
                header = self._header(file)
                if header is None:
                    return None
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            return StoredColumns(json.loads(header["__metadata__"]["description"]), _arrays(mapped, header))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("cannot use the catalogue's snapshot; reading the store", extra=self._extra(error))
            return None

    def describe(self) -> tuple[Mapping[str, Any], float] | None:
        """See `ColumnSnapshots.describe`."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError), self.path.open("rb") as file:
            header = self._header(file)
            if header is not None:
                return json.loads(header["__metadata__"]["description"]), _age(file)
        return None

    def begin(self) -> ColumnFileWriter | None:
        """See `ColumnSnapshots.begin`."""
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return ColumnFileWriter(self.path, lock)
        except BlockingIOError:
            os.close(lock)
            return None
        except BaseException:
            os.close(lock)
            raise

    def _header(self, file: BinaryIO) -> dict[str, Any] | None:
        """Read the header; None if the file is not to be used."""
        state = os.fstat(file.fileno())
        if state.st_uid != os.getuid() or state.st_mode & _OTHERS_MAY_WRITE or _age(file) > MAX_AGE_SECONDS:
            _log.info("ignored the catalogue's snapshot: it is too old or of another user", extra=self._extra())
            return None
        size = int.from_bytes(file.read(8), "little")
        if size != _HEADER_BYTES - 8:
            raise ValueError("it has no header")
        header: dict[str, Any] = json.loads(file.read(size))
        metadata = header["__metadata__"]
        if metadata["format"] != FORMAT:
            _log.info("ignored the catalogue's snapshot: another release wrote it", extra=self._extra())
            return None
        if metadata.pop("checksum") != _checksum(header):
            raise ValueError("the header has another checksum")
        return header

    def _extra(self, error: Exception | None = None) -> dict[str, str]:
        return {"path": str(self.path), **({} if error is None else {"reason": str(error)})}


class ColumnFileWriter:
    """See `service.core.column_snapshots.SnapshotWriter`."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path, self._lock = path, lock
        self._aside = path.with_name(f"{path.name}.new")
        self._aside.unlink(missing_ok=True)  # of a process that was killed
        descriptor = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._file.seek(_HEADER_BYTES)
        self._written = self._synced = 0
        self._header: dict[str, Any] = {}
        self._checksums: dict[str, int] = {}

    def add(self, name: str, dtype: np.dtype[Any], parts: Iterable[NDArray[Any]]) -> None:
        """See `SnapshotWriter.add`."""
        begin, count, checksum = self._written, 0, 0
        for part in parts:
            started = time.monotonic()
            content = part.tobytes()  # one moment's content, for the file and for the checksum
            checksum = zlib.crc32(content, checksum)
            self._write(content)
            count += len(part)
            time.sleep(min(0.1, time.monotonic() - started))  # requests get at least half of the time
        offsets = [begin, self._written]
        self._header[name] = {"dtype": _NAMES[dtype], "shape": [count], "data_offsets": offsets}
        self._checksums[name] = checksum

    def finish(self, description: Mapping[str, Any]) -> int:
        """See `SnapshotWriter.finish`."""
        metadata = {
            "format": FORMAT,
            "description": json.dumps(description),
            "checksums": json.dumps(self._checksums),
        }
        header = {"__metadata__": metadata, **self._header}
        metadata["checksum"] = _checksum(header)
        text = json.dumps(header).encode()
        if len(text) > _HEADER_BYTES - 8:
            raise OSError(f"the catalogue has too many columns for a snapshot: {len(self._header)} arrays")
        os.fdatasync(self._file.fileno())
        os.pwrite(self._file.fileno(), (_HEADER_BYTES - 8).to_bytes(8, "little") + text.ljust(_HEADER_BYTES - 8), 0)
        os.fsync(self._file.fileno())
        self._aside.rename(self._path)
        return _HEADER_BYTES + self._written

    def close(self) -> None:
        """See `SnapshotWriter.close`."""
        self._file.close()
        with suppress(OSError):
            self._aside.unlink(missing_ok=True)
        os.close(self._lock)

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            written = self._file.write(view)
            view = view[written:]
            self._written += written
        if self._written - self._synced >= _SYNC_BYTES:
            os.fdatasync(self._file.fileno())
            self._synced = self._written


def _arrays(mapped: mmap.mmap, header: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the arrays; raises `ValueError` if one is damaged."""
    checksums = json.loads(header["__metadata__"]["checksums"])
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        [count], (begin, end) = entry["shape"], entry["data_offsets"]
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if _HEADER_BYTES + end > len(mapped) or count * dtype.itemsize != end - begin:
            raise ValueError(f"{name} is cut off")
        array = np.frombuffer(mapped, dtype, count, _HEADER_BYTES + begin)
        if zlib.crc32(array.view(np.uint8).data) != checksums[name]:
            raise ValueError(f"{name} has another checksum")
        found[name] = array
    return found


def _checksum(header: Mapping[str, Any]) -> str:
    return str(zlib.crc32(json.dumps(header, sort_keys=True).encode()))


def _age(file: BinaryIO) -> float:
    return max(0.0, time.time() - os.fstat(file.fileno()).st_mtime)

"""Verified copies of files in memory that workers share.

A mapped file changes with every write to it, and a truncated one kills its readers (SIGBUS), whatever its checksum
was when it was loaded. A large file is therefore copied into anonymous memory, hashed on the way and sealed, so that
nobody can write to it or shrink it any more. The first worker copies. The others find that copy among the open files
of their siblings, check its seals and its checksum, and map the same pages (decision 0089).

Without Linux' memfd or /proc each process keeps a copy of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20
_NAME = "recblr-{}"  # names of memory files; they are visible in /proc
_LOCK = _NAME.format("load-lock")
# A worker that holds the lock for longer is stuck; a second copy is then better than no start.
_LOCK_SECONDS = 60.0


class ChecksumError(Exception):
    """The bytes are not those that were promised."""


def sealed_copy(file: BinaryIO, size: int, sha256: str) -> mmap.mmap:
    """Return the `size` bytes of `file` in sealed memory.

    The mapping is private: a write changes a copy of the page in this process only.

    Raises:
        ChecksumError: the bytes do not have this checksum.
        OSError: the file cannot be read, or memory is used up.
    """
    if sys.platform != "linux":
        return _private_copy(file, size, sha256)
    name = _NAME.format(sha256)
    with _lock():
        if (shared := _sibling_copy(name, size, sha256)) is not None:
            return shared
        try:
            descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:  # a system call that this container forbids
            return _private_copy(file, size, sha256)
        try:
            return _sealed(descriptor, file, size, sha256)
        finally:
            os.close(descriptor)  # the mapping keeps a duplicate, by which siblings find it


def hold_load_lock() -> int | None:
    """Create the lock of the workers that this process will start.

    Returns its descriptor, which must stay open; None if there can be none.
    """
    with suppress(OSError):
        if sys.platform == "linux":
            return os.memfd_create(_LOCK)
    return None


def _sealed(descriptor: int, file: BinaryIO, size: int, sha256: str) -> mmap.mmap:
    """Copy the file into a memory file, seal it and map it."""
    digest = hashlib.sha256()
    for chunk in _chunks(file, size):
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
    if digest.hexdigest() != sha256:
        raise ChecksumError
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return _map(descriptor, size)


def _map(descriptor: int, size: int) -> mmap.mmap:
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)


def _private_copy(file: BinaryIO, size: int, sha256: str) -> mmap.mmap:
    copy, digest = mmap.mmap(-1, size), hashlib.sha256()
    for chunk in _chunks(file, size):
        digest.update(chunk)
        copy.write(chunk)
    if digest.hexdigest() != sha256:
        raise ChecksumError
    return copy


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Read exactly `size` bytes; raises `ChecksumError`."""
    while size > 0 and (chunk := file.read(min(size, _CHUNK_BYTES))):
        size -= len(chunk)
        yield chunk
    if size:
        raise ChecksumError


if sys.platform == "linux":
    _SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def _sibling_copy(name: str, size: int, sha256: str) -> mmap.mmap | None:
    """Map the sealed copy of this process or a sibling, if any."""
    for process in (os.getpid(), *_siblings()):
        for path in _memory_files(process, name):
            with suppress(OSError):  # closed meanwhile, or sealed by nobody
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
                    if sealed and os.fstat(descriptor).st_size == size:
                        mapped = _map(descriptor, size)
                        if hashlib.sha256(mapped).hexdigest() == sha256:
                            return mapped
                finally:
                    os.close(descriptor)
    return None


def _siblings() -> list[int]:
    """Return the other children of this process' parent."""
    parent, found = os.getppid(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything; after it come the state and the parent.
            if int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
    return [process for process in found if process != os.getpid()]


def _memory_files(process: int, name: str) -> Iterator[Path]:
    """Yield the process' open memory files of this name."""
    with suppress(OSError):
        for path in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                if str(path.readlink()) == f"/memfd:{name} (deleted)":
                    yield path


@contextmanager
def _lock() -> Iterator[None]:
    """Let one sibling copy at a time, if there is a lock."""
    with ExitStack() as closing:
        for path in _memory_files(os.getppid(), _LOCK):
            with suppress(OSError):
                _wait_for(closing.enter_context(path.open("rb")))
        yield


def _wait_for(lock: BinaryIO) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return

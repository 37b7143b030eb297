"""Copies of large files: verified, sealed, shared by siblings."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.bundle import sealed_memory
from model.bundle.sealed_memory import ChecksumError, hold_load_lock, sealed_copy
from tests.environment import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files")

DATA = os.urandom(1 << 20) * 3 + b"end"
SHA256 = hashlib.sha256(DATA).hexdigest()

# Loads argv[1], prints the inode of its memory file, and keeps it until standard input ends.
WORKER = """
import os, sys, time
from model.bundle.sealed_memory import sealed_copy
sys.stdin.readline()
with open(sys.argv[1], "rb") as file:
    copy = sealed_copy(file, int(sys.argv[2]), sys.argv[3])
links = {os.stat(f"/proc/self/fd/{n}").st_ino for n in map(int, os.listdir("/proc/self/fd")) if n > 2
         and os.path.exists(f"/proc/self/fd/{n}") and sys.argv[3] in os.readlink(f"/proc/self/fd/{n}")}
print(*links, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


def copy_of(path: Path, sha256: str = SHA256) -> mmap.mmap:
    with path.open("rb") as file:
        return sealed_copy(file, len(DATA), sha256)


def test_copy_survives_writes_to_the_file_and_its_truncation(path: Path) -> None:
    copy = copy_of(path)
    with path.open("r+b") as file:
        file.write(b"x" * 9)
        file.flush()
        assert copy[:] == DATA
        file.truncate(0)
    assert copy[:] == DATA


def test_copy_is_sealed_and_private(path: Path) -> None:
    copy, second = copy_of(path), copy_of(path)
    [descriptor, _] = memory_files(SHA256)
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    copy[0:9] = b"x" * 9
    assert second[:] == DATA


@pytest.mark.parametrize("content", [DATA[:-1] + b"x", DATA[:-1], b""])
def test_file_with_another_checksum_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ChecksumError):
        copy_of(path)
    assert not memory_files(SHA256)


@pytest.mark.parametrize("sealed", [False, True])
def test_memory_file_of_the_same_name_is_not_trusted(path: Path, sealed: bool) -> None:
    """Unsealed it could change later; sealed it may hold something else."""
    planted = os.memfd_create(f"recblr-{SHA256}", os.MFD_ALLOW_SEALING)
    try:
        os.write(planted, b"x" * len(DATA) if sealed else DATA)
        if sealed:
            fcntl.fcntl(planted, fcntl.F_ADD_SEALS, sealed_memory._SEALS)
        copy = copy_of(path)
        assert len(memory_files(SHA256)) == 2
        if not sealed:
            os.pwrite(planted, b"y", 0)
        assert copy[:] == DATA
    finally:
        os.close(planted)


def test_workers_that_start_at_once_share_one_copy(path: Path) -> None:
    lock = hold_load_lock()
    assert lock is not None
    command = [sys.executable, "-c", WORKER, str(path), str(len(DATA)), SHA256]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    workers = [subprocess.Popen(command, **pipes) for _ in range(4)]
    try:
        for worker in workers:
            print(file=worker.stdin, flush=True)
        [inode] = {worker.stdout.readline() for worker in workers if worker.stdout}
        # The copy outlives the worker that made it.
        workers[0].kill()
        workers[0].wait()
        workers.append(subprocess.Popen(command, **pipes))
        print(file=workers[-1].stdin, flush=True)
        assert workers[-1].stdout
        assert workers[-1].stdout.readline() == inode
    finally:
        os.close(lock)
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.mark.parametrize("missing", ["linux", "memfd"])
def test_without_memory_files_the_copy_is_private(path: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "linux":
        monkeypatch.setattr(sys, "platform", "darwin")
    else:
        monkeypatch.setattr(os, "memfd_create", forbidden)
    copy = copy_of(path)
    path.write_bytes(b"")
    assert copy[:] == DATA
    assert not memory_files(SHA256)
    with pytest.raises(ChecksumError):
        copy_of(path)


def forbidden(*arguments: object) -> int:
    raise PermissionError("memfd_create")


def memory_files(sha256: str) -> list[int]:
    """Descriptors of this process' memory files of that name."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            if sha256 in str(link.readlink()):
                found.append(int(link.name))
        except OSError:
            continue
    return found

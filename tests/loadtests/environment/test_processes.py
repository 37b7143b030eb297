"""CPU time and memory of real child processes."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

from loadtests.environment.processes import CpuMeter, cpu_seconds, mapped_mb, memory_mb, process_tree

# Starts a child of its own that uses CPU, reports the child's id, and waits for its input to close.
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\\nwhile True: pass"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


def start_parent() -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-c", PARENT]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    return parent, int(parent.stdout.readline())


def test_busy_child_counts_in_the_group_of_its_parent() -> None:
    parent, child = start_parent()
    with parent:
        assert process_tree(parent.pid) == [parent.pid, child]
        meter = CpuMeter({"server": parent.pid})
        deadline = time.monotonic() + 30
        while meter.read()["server"] < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        spent = meter.read()
        parent.communicate()
    assert spent["server"] >= 0.2
    assert spent.keys() == {"server", "client", "others"}
    assert spent["others"] >= 0


def test_ended_process_has_no_children_and_uses_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert process_tree(process.pid) == [process.pid]
    assert cpu_seconds([process.pid]) == 0
    assert memory_mb([process.pid]) == {"rss": 0, "pss": 0}


def test_memory_of_a_mapped_file_is_reported_apart(tmp_path: Path) -> None:
    path = tmp_path / "table.bin"
    path.write_bytes(b"\1" * (8 << 20))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        assert sum(mapping[:: mmap.PAGESIZE]) == (8 << 20) // mmap.PAGESIZE  # touch every page
        memory = mapped_mb(os.getpid(), "table.bin")
        assert mapped_mb(os.getpid(), "able.bin")["mapped_rss"] == 0
    assert memory["mapped_rss"] == memory["mapped_pss"] == 8.0
    assert memory["rss"] >= memory["pss"] > 8.0

"""CPU time and memory of process trees, and free ports for them."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

_MB = 1 << 20


def process_tree(pid: int) -> list[int]:
    """Return `pid` and the ids of all its living descendants."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return [pid]


def is_forked_worker(pid: int, top: int) -> bool:
    """Return whether a process is a worker of the service `top`."""
    try:
        parent = psutil.Process(pid).parent()
        if parent is None or parent.ppid() != top:
            return False
        return any("multiprocessing.forkserver" in word for word in parent.cmdline())
    except psutil.NoSuchProcess:
        return False


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the user and system time of `pids` so far.

    Ended processes count 0.
    """
    total = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def machine_cpu_seconds() -> float:
    """Return the busy time of all cores since boot.

    Waiting for disks counts as idle.
    """
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def memory_mb(pids: Iterable[int]) -> dict[str, float]:
    """Return the memory of `pids` in megabytes.

    Returns:
        `rss`, the sum of resident pages, and `pss`, where a page shared by n processes counts 1/n.
    """
    rss = pss = 0
    for pid in pids:
        try:
            memory = psutil.Process(pid).memory_full_info()
        except psutil.Error:
            continue
        rss += memory.rss
        pss += memory.pss
    return {"rss": round(rss / _MB, 1), "pss": round(pss / _MB, 1)}


def reset_peak_memory(pid: int) -> None:
    """Forget the highest memory of a process so far."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory_mb(pid: int) -> float:
    """Return the highest resident memory since `reset_peak_memory`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise ProcessLookupError(f"process {pid} has no memory")


def run_when_idle() -> None:
    """Let this process run only while a core is free."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def mapped_mb(pid: int, file_name: str) -> dict[str, float]:
    """Return a process's memory, and the part that maps one file.

    Returns:
        `rss` and `pss` as in `memory_mb`; `mapped_rss` and `mapped_pss` for the mappings of `file_name`.
    """
    mappings = [
        mapping
        for mapping in psutil.Process(pid).memory_maps(grouped=True)
        if mapping.path.removesuffix(" (deleted)").endswith(f"/{file_name}")
    ]
    return memory_mb([pid]) | {
        "mapped_rss": round(sum(mapping.rss for mapping in mappings) / _MB, 1),
        "mapped_pss": round(sum(mapping.pss for mapping in mappings) / _MB, 1),
    }


class CpuMeter:
    """CPU seconds of process groups since construction.

    Processes that start later are not counted in their group but as `others`.
    """

    def __init__(self, groups: Mapping[str, int]) -> None:
        """Start measuring.

        `groups` maps a name to the process at the top of its tree.
        """
        self._pids = {name: process_tree(pid) for name, pid in groups.items()}
        self._pids["client"] = [os.getpid()]
        self._before = self._read_groups()
        self._machine_before = machine_cpu_seconds()

    def read(self) -> dict[str, float]:
        """Return seconds per group, of this process (`client`) and of all `others`."""
        spent = {name: round(now - self._before[name], 3) for name, now in self._read_groups().items()}
        others = machine_cpu_seconds() - self._machine_before - sum(spent.values())
        return spent | {"others": round(max(0.0, others), 3)}

    def _read_groups(self) -> dict[str, float]:
        return {name: cpu_seconds(pids) for name, pids in self._pids.items()}


def free_port() -> int:
    """Return a TCP port that is not in use.

    It is none that the system gives to outgoing connections, nor is the port 10,000 above, on which a node of a Redis
    Cluster listens too: a server may bind it much later.
    """
    while True:
        port = random.randrange(10_000, 20_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port

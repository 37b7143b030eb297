"""CPU time and memory of processes and their descendants, read from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """`pid` and every process below it that lives now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time so far, in seconds (in steps of 10 ms on most machines)."""
    return sum(int(fields[11]) + int(fields[12]) for pid in pids if (fields := _stat(pid))) / _TICKS


def machine_cpu_seconds() -> float:
    """Busy time of all cores since boot: everything but idle and waiting for disks."""
    fields = [int(field) for field in (_PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS


def memory_mb(pids: Iterable[int]) -> dict[str, float]:
    """Resident and proportional (shared pages divided by their users) megabytes, summed over `pids`."""
    totals = {"Rss": 0, "Pss": 0}
    for pid in pids:
        try:
            lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0])
    return {"rss": round(totals["Rss"] / 1024, 1), "pss": round(totals["Pss"] / 1024, 1)}


def mapped_mb(pid: int, name: str) -> dict[str, float]:
    """A process' memory as `memory_mb`, and as `mapped_…` what of it are mappings of files called `name`."""
    own = {"Rss": 0, "Pss": 0}
    within = False
    for line in (_PROC / str(pid) / "smaps").read_text().splitlines():
        key, _, value = line.partition(":")
        if "-" in line.split(maxsplit=1)[0]:
            within = line.removesuffix(" (deleted)").endswith(f"/{name}")
        elif within and key in own:
            own[key] += int(value.split()[0])
    return memory_mb([pid]) | {f"mapped_{key.lower()}": round(size / 1024, 1) for key, size in own.items()}


class CpuMeter:
    """CPU seconds of named groups of processes, and of all others, between its making and `read`."""

    def __init__(self, groups: Mapping[str, int]) -> None:
        self._pids = {name: descendants(pid) for name, pid in groups.items()}
        self._pids["client"] = [os.getpid()]
        self._before = self._now()
        self._machine = machine_cpu_seconds()

    def read(self) -> dict[str, float]:
        """Seconds for each group, for the client, and as `others` for the rest of the machine."""
        spent = {name: round(now - self._before[name], 3) for name, now in self._now().items()}
        return spent | {"others": round(max(0.0, machine_cpu_seconds() - self._machine - sum(spent.values())), 3)}

    def _now(self) -> dict[str, float]:
        return {name: cpu_seconds(pids) for name, pids in self._pids.items()}


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name, state first; empty if the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []

"""Description of the machine and its software, stored with every result."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def machine_info() -> dict[str, Any]:
    """Return cores, processor, versions, commit and load average."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "redis": _first_line(["redis-server", "--version"]),
        "commit": _first_line(["git", "describe", "--always", "--dirty"]),
        "load_average_at_end": [round(load, 2) for load in os.getloadavg()],
    }


def _first_line(command: list[str]) -> str:
    """Return a command's first line of output, or "unknown"."""
    try:
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.splitlines() or ["unknown"])[0]


def _processor() -> str:
    """Return the processor's model name, which psutil does not know."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()

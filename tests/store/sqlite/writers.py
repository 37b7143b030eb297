"""Processes that write to one SQLite file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def start_writer(program: str, url: str, name: str, number: int) -> subprocess.Popen[str]:
    """Start a program that prints a line for each write."""
    command = [sys.executable, "-c", program, url, name, str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

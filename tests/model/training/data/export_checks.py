"""Events to export, and checks of an export's files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.model.training.logs import exported

USERS = [f"user {n}" for n in range(9)]
PART_EVENTS = 4  # small, so that there are several parts


def events(number: int, seed: int = 0) -> list[tuple[str, str, float]]:
    """Return events in another order than that of their timestamps."""
    return [(USERS[(n * n + seed) % 9], f"item {n * 7 % 13}", float(n * 31 % 17)) for n in range(number)]


def file_contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def in_order_of_each_user(folder: Path) -> bool:
    newest: Counter[str] = Counter()
    for user, *_, sequence, _ in exported(folder):
        if sequence <= newest[user]:
            return False
        newest[user] = sequence
    return True

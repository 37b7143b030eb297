"""Marks of published versions that only an A/B test serves.

A file `.ab-test-VERSION` beside the bundles marks such a version. Neither a start of the service nor its watch takes
the version as the newest; a request can name it. The content of the mark is the state of the test
(model/training/ab_test).
"""

from __future__ import annotations

import os
from pathlib import Path

_PREFIX = ".ab-test-"


def mark_path(registry: Path, version: str) -> Path:
    """Return the path of the mark of a version."""
    return registry / f"{_PREFIX}{version}"


def marked_versions(registry: Path) -> set[str]:
    """Return the versions that are marked."""
    return {path.name.removeprefix(_PREFIX) for path in registry.glob(f"{_PREFIX}*")}


def write_mark(registry: Path, version: str, text: str) -> None:
    """Mark a version, or replace the content of its mark, atomically."""
    part = registry / f".part{_PREFIX}{version}"
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(mark_path(registry, version))


def without_marked(registry: Path, versions: list[str]) -> list[str]:
    """Return the versions without a mark; all if each has one."""
    marked = marked_versions(registry)
    return [version for version in versions if version not in marked] or versions

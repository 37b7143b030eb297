"""Versions on trial: published, but served by an A/B test only.

A file `.trial-VERSION` beside the bundles marks such a version. Neither a start of the service nor its watch takes it
as the newest; a request can name it. The file's content is the state of the test (model/training/live_test).
"""

from __future__ import annotations

import os
from pathlib import Path

_PREFIX = ".trial-"


def trial_file(registry: Path, version: str) -> Path:
    """Return the path of the mark of a version."""
    return registry / f"{_PREFIX}{version}"


def versions_on_trial(registry: Path) -> set[str]:
    """Return the versions that are marked."""
    return {path.name.removeprefix(_PREFIX) for path in registry.glob(f"{_PREFIX}*")}


def write_trial(registry: Path, version: str, text: str) -> None:
    """Mark a version, or replace the content of its mark, atomically."""
    part = registry / f".part{_PREFIX}{version}"
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(trial_file(registry, version))


def without_trials(registry: Path, versions: list[str]) -> list[str]:
    """Return the versions that are not on trial, else all."""
    on_trial = versions_on_trial(registry)
    return [version for version in versions if version not in on_trial] or versions

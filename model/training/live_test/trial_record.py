"""State of a live test, which survives the job that runs it.

It is the content of the version's mark in the registry (model/bundle/trial.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from model.bundle.trial import trial_file, versions_on_trial, write_trial


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A live test of one version.

    Attributes:
        url: address of the service.
        share: fraction of the users that the version answers.
        hours: longest time of the test.
        alpha: of the sequential test.
        live: the version beside it; "" until the test has begun.
        started: when the test began, Unix seconds; 0 until then.
        counters: the service's counters, as `ServiceClient.counters` gives them.
    """

    url: str
    share: float
    hours: float
    alpha: float
    live: str = ""
    started: float = 0.0
    counters: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the content of the mark."""
        return json.dumps(asdict(self))

    def write(self, registry: Path, version: str) -> None:
        """Write the record, atomically."""
        write_trial(registry, version, self.to_json())


def read_record(registry: Path, version: str) -> TrialRecord:
    """Read the record of a version on trial.

    Raises:
        DataError: the record is damaged.
    """
    path = trial_file(registry, version)
    try:
        return TrialRecord(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); remove it, and {version} counts as published, or remove both"
        ) from None


def unfinished_tests(registry: Path) -> list[str]:
    """Return the versions on trial, and remove marks without a version."""
    found: list[str] = []
    for version in sorted(versions_on_trial(registry)):
        if (registry / version).is_dir():
            found.append(version)
        else:  # the job was killed before the version was published, or after it was withdrawn
            trial_file(registry, version).unlink(missing_ok=True)
    return found

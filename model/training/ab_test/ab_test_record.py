"""State of an A/B test, which survives the job that runs it.

It is the content of the version's mark in the registry (model/bundle/ab_test_mark.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingest.errors import DataError
from model.bundle.ab_test_mark import mark_path, marked_versions, write_mark


@dataclass(frozen=True, slots=True)
class AbTestRecord:
    """An A/B test of one version.

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
        write_mark(registry, version, self.to_json())


def read_record(registry: Path, version: str) -> AbTestRecord:
    """Read the record of a marked version.

    Raises:
        DataError: the record is damaged.
    """
    path = mark_path(registry, version)
    try:
        return AbTestRecord(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); remove it, and {version} counts as published, or remove both"
        ) from None


def unfinished_tests(registry: Path) -> list[str]:
    """Return the marked versions, and remove marks without a version."""
    found: list[str] = []
    for version in sorted(marked_versions(registry)):
        if (registry / version).is_dir():
            found.append(version)
        else:  # the job was killed before the version was published, or after it was withdrawn
            mark_path(registry, version).unlink(missing_ok=True)
    return found

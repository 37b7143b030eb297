"""Sum of the results of several rounds of one fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from model.bundle.bundle import Bundle
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.load_checks import check_load
from tests.faults.harness.writers import Load


@dataclass
class Tally:
    """Results of users that met the same fault.

    `silence` is the longest time without an acknowledgement, in seconds.
    """

    bundle: Bundle
    acknowledged: int = 0
    silence: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    async def add(self, load: Load, started_at: float, traffic: CatalogueTraffic | None = None) -> None:
        """Check what has ended; the fault began at `started_at` (`time.monotonic`)."""
        result = await check_load(load, [self.bundle], None, traffic)
        self.acknowledged += len(load.acknowledged)
        self.silence = max(self.silence, load.longest_silence(started_at))
        self.statuses.update(load.statuses)
        self.violations.update(result.figures())
        self.examples += result.examples

    def figures(self) -> dict[str, object]:
        """Return the figures for the report."""
        return {
            "acknowledged": self.acknowledged,
            **self.violations,
            "statuses": self.statuses,
            "longest_silence_seconds": round(self.silence, 2),
        }

    def clean(self) -> bool:
        return not any(self.violations.values())

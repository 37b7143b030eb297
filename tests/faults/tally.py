"""What the rounds of one fault came to, added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from model.bundle.bundle import Bundle
from tests.faults.aftermath import evaluated
from tests.faults.writers import Load


@dataclass
class Tally:
    """Of users who shared a fate. `silence` is the longest time without an acknowledgement, in seconds."""

    bundle: Bundle
    acknowledged: int = 0
    silence: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    wrongs: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    async def add(self, load: Load, began: float) -> None:
        """Judge a load that is over; what was broken was broken at `began` (`time.monotonic`)."""
        comparison = await evaluated(load, [self.bundle])
        self.acknowledged += len(load.acknowledged)
        self.silence = max(self.silence, load.longest_silence(began))
        self.statuses.update(load.statuses)
        self.wrongs.update(comparison.figures())
        self.examples += comparison.examples

    def figures(self) -> dict[str, object]:
        """For the report."""
        return {
            "acknowledged": self.acknowledged,
            **self.wrongs,
            "statuses": self.statuses,
            "longest_silence_seconds": round(self.silence, 2),
        }

    def clean(self) -> bool:
        return not any(self.wrongs.values())

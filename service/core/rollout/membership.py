"""The workers on one store, as far as they can tell from each other's notes.

Each keeps a note that says what it holds and serves and that changes every second. A note that has stood still for
some seconds is a dead worker's: no clocks are compared, only how long one's own says that nothing has changed. Time
in which the store was away does not count, since then nobody could write.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.core.ports import Store

PREFIX = "worker:"
BEAT_SECONDS = 1.0
DEAD_SECONDS = 5.0
# After so long without a look at the notes nobody is held to what changed meanwhile.
BLIND_SECONDS = 2 * BEAT_SECONDS
# After this a dead worker's note goes. A worker that was merely stopped for so long writes its own anew.
FORGOTTEN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says of itself: versions it holds, the label of what it serves, why it could not load others.

    `attempt`: the attempt of the note that it follows; what it says is about this one.
    """

    holds: tuple[str, ...] = ()
    serves: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)
    watches: bool = False
    attempt: str = ""


@dataclass(slots=True)
class _Seen:
    text: str
    changed: float
    report: Report


class Membership:
    """The note of the worker `name` and those of the others; `store` may be down."""

    def __init__(self, store: Store, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._store = store
        self._clock = clock
        self._beats = 0
        self._last = self._observed = -float("inf")
        self._said: Report | None = None
        self._seen: dict[str, _Seen] = {}

    def observe(self, notes: Mapping[str, str]) -> None:
        """Take note of what the others say now."""
        now = self._clock()
        if now - self._observed > BLIND_SECONDS:
            for known in self._seen.values():
                known.changed = now
        self._observed = now
        texts = {name.removeprefix(PREFIX): text for name, text in notes.items() if name.startswith(PREFIX)}
        for name, text in texts.items():
            seen = self._seen.get(name)
            if seen is None or seen.text != text:
                self._seen[name] = _Seen(text, now, _report(text))
        for name in self._seen.keys() - texts.keys():
            del self._seen[name]

    def alive(self) -> dict[str, Report]:
        """The workers that had changed their notes of late when they were last observed, this one among them."""
        since = self._observed - DEAD_SECONDS
        return {name: seen.report for name, seen in self._seen.items() if seen.changed >= since or name == self.name}

    async def say(self, report: Report) -> None:
        """Write this worker's note if it is news or time; raises `StoreUnavailable`."""
        now = self._clock()
        if report == self._said and now - self._last < BEAT_SECONDS:
            return
        self._beats += 1
        text = json.dumps(
            {
                "beat": self._beats,
                "holds": report.holds,
                "serves": report.serves,
                "refused": dict(report.refused),
                "watches": report.watches,
                "attempt": report.attempt,
            }
        )
        mine = self._seen.get(self.name)
        if await self._store.compare_and_set(PREFIX + self.name, mine.text if mine else None, text):
            self._said, self._last = report, now
            self._seen[self.name] = _Seen(text, now, report)

    async def forget_the_dead(self) -> None:
        """Remove notes that have long stood still; raises `StoreUnavailable`."""
        since = self._clock() - FORGOTTEN_SECONDS
        for name, seen in list(self._seen.items()):
            if seen.changed < since and name != self.name:
                await self._store.compare_and_set(PREFIX + name, seen.text, None)

    async def leave(self) -> None:
        """Take this worker's note back; raises `StoreUnavailable`."""
        if mine := self._seen.get(self.name):
            await self._store.compare_and_set(PREFIX + self.name, mine.text, None)


def _report(text: str) -> Report:
    """What a note says; one that cannot be read says nothing."""
    try:
        entry = json.loads(text)
        return Report(
            tuple(map(str, entry["holds"])),
            str(entry["serves"]),
            {str(version): str(reason) for version, reason in entry["refused"].items()},
            entry["watches"] is True,
            str(entry["attempt"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Report()

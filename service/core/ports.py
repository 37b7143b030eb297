"""What the use cases need from the outside, each stated as a contract; that of the event log is in store_port.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class TopK(NamedTuple):
    """Ask for the `k` best items, without those of the user's history if `exclude_seen`."""

    k: int
    exclude_seen: bool


class Rank(NamedTuple):
    """Ask for the scores of these items, best first; unknown ones come last with score None."""

    candidates: tuple[str, ...]


class Turn(NamedTuple):
    """One user's work for the engine: fold `items`, oldest first, into `state` (None: a new history), then answer.

    `judged` are indices of `items`, ascending, all of known ones: where did each stand before it was folded?
    """

    state: bytes | None
    items: tuple[str, ...]
    ask: TopK | Rank | None
    judged: tuple[int, ...] = ()


class ScoredItem(NamedTuple):
    """An item and its score (a dot product; higher is better; comparable within one answer only)."""

    item_id: str
    score: float | None
    title: str | None = None
    categories: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where an item stood in the order of a state's answers: 1 is the best, 0 nowhere.

    cold          no known item had reached the state
    among_all     among all items of the model; 0 beyond the first 100 where an index answers
    among_unseen  among those that `exclude_seen` leaves; 0 also for an item that it leaves out
    """

    cold: bool
    among_all: int
    among_unseen: int


class Folded(NamedTuple):
    """The state after a turn, its answer, whether no known item has ever reached the state; what `judged` asked."""

    state: bytes
    cold: bool
    items: tuple[ScoredItem, ...]
    places: tuple[Place, ...] = ()


class StateDamaged(Exception):
    """The engine was handed state bytes that cannot be its own."""


class Engine(Protocol):
    """A loaded model. Immutable, thread-safe; every method is CPU-bound and may be called off the event loop."""

    @property
    def version(self) -> str:
        """The bundle's version."""
        ...

    def run(self, turns: Sequence[Turn]) -> list[Folded | StateDamaged]:
        """Work all turns as one batch. Deterministic to float32 rounding whatever the batch.

        Items the model does not know leave the state as it is.
        """
        ...

    def cost(self, turns: Sequence[Turn]) -> float:
        """About how many seconds `run` would hold a core; what cannot run on the caller's thread costs infinity."""
        ...

    def knows(self, item_id: str) -> bool:
        """Whether the model has an embedding for the item."""
        ...

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        """The `k` items nearest by cosine, without the item itself; raises `ItemNotFound`."""
        ...

    def difference(self, state: bytes, expected: bytes) -> float:
        """max |state - expected| / max |expected| over the recurrent state; raises `StateDamaged`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Version, config, metrics and training-data summary, ready for JSON."""
        ...


# What a batch of the engine's work consists of: the engine comes along, for a reload exchanges the live one,
# and in an A/B test two of them answer all the time.
EngineJob = tuple[Engine, Turn]
SimilarJob = tuple[Engine, str, int]


class BundleRefused(Exception):
    """A bundle, or the folder of bundles, cannot be used; the message says why in one sentence.

    `for_log` says also where it lies, which the message does not: that reaches clients.
    """

    def __init__(self, message: str, *, for_log: str | None = None) -> None:
        super().__init__(message)
        self.for_log = for_log or message


@dataclass(frozen=True, slots=True)
class Published:
    """A bundle that is there, not verified yet; `place` orders bundles by the time of their creation."""

    version: str
    place: tuple[str, str]


class Bundles(Protocol):
    """Where models come from."""

    async def published(self) -> list[Published]:
        """The bundles that are there, oldest first and at least one; raises `BundleRefused`."""
        ...

    async def changed(self) -> bool:
        """Whether what is published may have changed since this was last asked; cheap."""
        ...

    async def load(self, version: str) -> Engine:
        """Verify and load this bundle, and warm it up; raises `ModelVersionNotFound` or `BundleRefused`."""
        ...


class Models(Protocol):
    """The models that answer."""

    @property
    def live(self) -> Engine:
        """The model that answers whoever is in no test."""
        ...

    @property
    def served(self) -> tuple[Engine, ...]:
        """The models that answer now, the live one first; a second one while an A/B test runs."""
        ...

    def for_user(self, user_id: str) -> Engine:
        """The model that answers this user: the same one in every process, for as long as `served` stays."""
        ...

    @property
    def share(self) -> float:
        """The share of the users that the second of `served` answers; 0 without a test."""
        ...

    async def reload(self, version: str | None) -> Engine:
        """Load `version` (None: the newest) beside the live model, then make it the live one, in every worker.

        Raises `ModelVersionNotFound` or `ReloadRefused`, and then the live model stays in every worker, or
        `SwapUnfinished` where it is decided and some workers have not followed yet. So do the other two.
        """
        ...

    async def begin_test(self, version: str, share: float) -> None:
        """Let `version` answer this share of the users (0 < share < 1) beside the live model."""
        ...

    async def end_test(self, winner: str) -> Engine:
        """Let one of the two versions answer everybody."""
        ...


class Meter(Protocol):
    """What the use cases report about themselves."""

    def fold(self, events: int) -> None:
        """A turn folded so many pending events."""
        ...

    def cold_start(self) -> None:
        """An answer came from a history without known items."""
        ...

    def memo_damaged(self) -> None:
        """A memo failed its check and is being rebuilt."""
        ...

    def judged(self, model_version: str, place: Place) -> None:
        """An event's item stood there for this model before the event."""
        ...


@dataclass(slots=True)
class SilentMeter:
    """A meter that keeps nothing but counts, for tests and tools."""

    counts: dict[str, int] = field(default_factory=dict)
    places: list[tuple[str, Place]] = field(default_factory=list)

    def _add(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def fold(self, events: int) -> None:
        """Count folded events."""
        self._add("folded_events", events)

    def cold_start(self) -> None:
        """Count cold answers."""
        self._add("cold_starts")

    def memo_damaged(self) -> None:
        """Count damaged memos."""
        self._add("memos_damaged")

    def judged(self, model_version: str, place: Place) -> None:
        """Keep the place."""
        self.places.append((model_version, place))

"""Contracts between the core and the other packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, ScoredItem, TargetRank
from service.core.errors import StateDamagedError, StoreUnavailable
from service.core.event_types.effects import EventTypes
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut


class Engine(Protocol):
    """A loaded model: immutable, thread-safe and CPU-bound."""

    @property
    def version(self) -> str:
        """Model version."""
        ...

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        """Run all requests as one batch; return one result each, in order.

        Items that the model does not know leave the state unchanged. Results do not depend on the rest of the batch,
        up to float32 rounding.
        """
        ...

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """Estimate the seconds of `run`. Infinity: always use the engine thread."""
        ...

    @property
    def item_ids(self) -> Sequence[str]:
        """Items that the model knows; the n-th has row n + 1."""
        ...

    @property
    def event_types(self) -> EventTypes:
        """Effects of the types of events under the model."""
        ...

    def knows(self, item_id: str) -> bool:
        """Return whether the model has an embedding of the item."""
        ...

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        """Find the `k` nearest other items by cosine; raises `ItemNotFound`."""
        ...

    def difference(self, state: bytes, expected: bytes) -> float:
        """Return the relative difference of two states; raises `StateDamagedError`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return version, config, metrics and training data, ready for JSON."""
        ...


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A published version, not verified yet; `order` sorts versions by creation time."""

    version: str
    order: tuple[str, str]


class Bundles(Protocol):
    """The model registry: published bundles, and how they are loaded."""

    async def published(self) -> list[ModelVersion]:
        """List the versions, oldest first; raises `BundleRefusedError` for none."""

    async def changed(self) -> bool:
        """Return whether the registry may have changed since the last call; cheap."""

    async def load(self, version: str) -> Engine:
        """Load and warm up; raises `ModelVersionNotFound` or `BundleRefusedError`."""


class Models(Protocol):
    """The models that are served."""

    @property
    def live(self) -> Engine:
        """The model of all users outside an A/B test."""
        ...

    @property
    def served(self) -> tuple[Engine, ...]:
        """The live model, and during an A/B test the tested one."""
        ...

    def for_user(self, user_id: str) -> Engine:
        """Return the user's model, the same in every process for one `served`."""
        ...

    @property
    def share(self) -> float:
        """Fraction of users that the tested model answers; 0 without a test."""
        ...

    async def reload(self, version: str | None) -> Engine:
        """Make `version` (None: the newest) the live model in every worker.

        Raises, like the two methods below:
            ModelVersionNotFound: The registry has no such version.
            RolloutRefused: Every worker keeps its live model.
            RolloutUnfinished: The rollout is decided; some workers have not switched yet.
        """
        ...

    async def begin_test(self, version: str, share: float) -> None:
        """Start an A/B test; `version` answers this fraction of users."""
        ...

    async def end_test(self, winner: str) -> Engine:
        """End the A/B test; `winner`, one of its versions, answers everybody."""
        ...


class Meter(Protocol):
    """Metrics of the use cases."""

    def events_replayed(self, count: int, ignored: int = 0) -> None:
        """Count a request's replayed events, and those of ignored types."""

    def cold_start(self) -> None:
        """Count an answer for a history without known items."""

    def snapshot_damaged(self) -> None:
        """Count a snapshot that failed its check."""

    def event_evaluated(self, model_version: str, rank: TargetRank, event_type: str = "") -> None:
        """Record the rank of an event's item before the event."""


class Store(Protocol):
    """The event log and the snapshots.

    The log is the truth; snapshots can be computed again.

    An append is the one commit point: atomic, ordered per user (sequences 1, 2, 3, …) and idempotent by `event_id`
    among the user's kept events. Retention keeps each user's newest events, up to a number and an age. The age counts
    from the arrival of an event, because clients choose its timestamp. Both limits take effect at the user's next
    append, the age also in `expire`. docs/guarantees.md has the details.

    Every method but `append_and_read` raises `StoreUnavailable` if the backend does not answer within its budget.
    """

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """Run each request atomically, all in one round trip.

        Requests of one user run in order.

        Returns one entry per request, in order. A request that the backend refuses fails alone, as a
        `StoreUnavailable` in its place. If the backend does not answer, every entry is one.

        An event that conflicts is skipped, and the request's other events are appended. A request without events
        changes nothing. A snapshot is absent if its sequence is beyond the log, or below what retention has removed.
        """
        ...

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """Store snapshots, and return for each whether it was stored.

        A snapshot is refused if
        - the user is unknown, or the log's generation is another one: the log was edited meanwhile;
        - its sequence is beyond the log, or names another append: a failover undid the one that was replayed;
        - a snapshot of the same model is stored that is as long or longer, unless `repair` is set.

        Snapshots of two model versions are kept: those whose first snapshot was written last.
        """
        ...

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """Read the newest kept events below `before`; None for an unknown user."""
        ...

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """Delete an event; return whether it existed. Sequences are never reused."""
        ...

    async def delete_user(self, user_id: str) -> int:
        """Delete the user's log and snapshots; return the number of events.

        Events of an unfinished `merge` into this user are not under it yet: they arrive later, in a new log. To
        delete them too, delete the other user.
        """
        ...

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """Move another user's events into the log of `user_id`.

        The log is created if needed. The two ids must differ.

        The merged log is ordered by timestamp, equal ones with `user_id`'s events first. Sequences are never reused:
        events from the first displaced one on get new ones above the newest. Of two events with one id that of
        `user_id` is kept. Retention by number applies, snapshots are deleted, and the generation changes. The other
        user is deleted. A merged event's arrival counts as no later than that of the event after it.

        Returns None if the other user has no log. The newest `MERGES_KNOWN` merges are known: repeating one returns
        its first result.

        After an error the merge may be started but unfinished. Then the events are in neither log until the call is
        repeated or `finish_merges` runs. No event is ever in both logs, or twice in one.
        """
        ...

    async def finish_merges(self) -> int:
        """Finish interrupted merges, as far as possible; return their number."""
        ...

    async def expire(self, user_ids: Sequence[str]) -> int:
        """Delete these users' events beyond the age limit; return their number.

        Users left without events are deleted, no matter what removed their last event.
        """
        ...

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """Return a page of about `limit` users, and the next cursor.

        Cursor "" is the start, and as a result the end.

        A user that exists throughout is returned at least once, perhaps twice. A page may be empty.
        """
        ...

    async def records(self) -> dict[str, str]:
        """Return all records: short texts by name, shared by all workers."""
        ...

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """Replace the record atomically if it equals `expected` (None: no record)."""
        ...

    async def ping(self) -> None:
        """Return if the backend answers."""

    async def memory_used(self) -> float | None:
        """Return the used fraction of the memory limit; None without one."""

    async def close(self) -> None:
        """Close connections and files."""

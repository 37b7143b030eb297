"""What the core needs from the outside, each stated as a contract that any implementation keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from service.core.engine_requests import EngineRequest, EngineResult, ScoredItem, StateDamagedError, TargetRank
from service.core.errors import StoreUnavailable
from service.core.events import AppendAndRead, History, LogView, Merged, SnapshotPut

MERGES_KNOWN = 32  # so many of the newest merges into a user are known, and so may be asked for again


class Engine(Protocol):
    """A loaded model. Immutable, thread-safe; every method is CPU-bound and may be called off the event loop."""

    @property
    def version(self) -> str:
        """The bundle's version."""
        ...

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        """Work all turns as one batch. Deterministic to float32 rounding whatever the batch.

        Items the model does not know leave the state as it is.
        """
        ...

    def cost(self, requests: Sequence[EngineRequest]) -> float:
        """About how many seconds `run` would hold a core; what cannot run on the caller's thread costs infinity."""
        ...

    def knows(self, item_id: str) -> bool:
        """Whether the model has an embedding for the item."""
        ...

    def similar(self, item_id: str, k: int) -> tuple[ScoredItem, ...]:
        """The `k` items nearest by cosine, without the item itself; raises `ItemNotFound`."""
        ...

    def difference(self, state: bytes, expected: bytes) -> float:
        """max |state - expected| / max |expected| over the recurrent state; raises `StateDamagedError`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Version, config, metrics and training-data summary, ready for JSON."""
        ...


class BundleRefusedError(Exception):
    """A bundle, or the folder of bundles, cannot be used; the message says why in one sentence.

    `for_log` says also where it lies, which the message does not: that reaches clients.
    """

    def __init__(self, message: str, *, for_log: str | None = None) -> None:
        super().__init__(message)
        self.for_log = for_log or message


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A bundle that is there, not verified yet; `order` orders bundles by the time of their creation."""

    version: str
    order: tuple[str, str]


class Bundles(Protocol):
    """Where models come from."""

    async def published(self) -> list[ModelVersion]:
        """The bundles that are there, oldest first and at least one; raises `BundleRefusedError`."""
        ...

    async def changed(self) -> bool:
        """Whether what is published may have changed since this was last asked; cheap."""
        ...

    async def load(self, version: str) -> Engine:
        """Verify and load this bundle, and warm it up; raises `ModelVersionNotFound` or `BundleRefusedError`."""
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

        Raises `ModelVersionNotFound` or `RolloutRefused`, and then the live model stays in every worker, or
        `RolloutUnfinished` where it is decided and some workers have not followed yet. So do the other two.
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

    def events_replayed(self, count: int) -> None:
        """Count the pending events that one request replayed."""
        ...

    def cold_start(self) -> None:
        """Count an answer for a history without known items."""
        ...

    def snapshot_damaged(self) -> None:
        """Count a snapshot that failed its check and is replaced by a replay."""
        ...

    def event_evaluated(self, model_version: str, rank: TargetRank) -> None:
        """Record the rank that this model gave an event's item before the event."""
        ...


class Store(Protocol):
    """The event log, which is the truth, and the memos, which can be rebuilt from it.

    An append is the one commit point: atomic, ordered per user (sequences exactly 1, 2, 3, …) and idempotent by
    `event_id` among the user's kept events. The log keeps each user's most recent events up to the store's limit and,
    where the store has a limit of age, no longer than that after they came: what a client says of an event's time
    could keep it for ever, or throw an import away at once. When it came is by the backend's clock if it has one, and
    what is too old by the service's. Both limits take effect at a user's next append, that of age at `expire` too.
    A merged event counts as having come no later than the one after it.
    Every method but `visit` raises `StoreUnavailable` when the backend does not answer within its budget.
    """

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """Run all visits in one round trip, each atomically; those to one user take effect in order.

        One entry for each visit, in order. `StoreUnavailable` stands, unraised, where a visit brought nothing back:
        an append that the backend refuses fails alone, and the reads beside it are served. A backend that does not
        answer, or that commits the whole round trip at once, fails every entry.

        Within a visit events are appended in order; one that conflicts is skipped and the others still count.
        A memo whose cursor lies beyond the log, or before what retention has removed, counts as absent.
        A visit without events changes nothing.
        """
        ...

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """Store memos; says for each whether it was stored.

        Refused: another generation than the log's (the history was edited meanwhile), an unknown user, a cursor
        beyond the log, another append at the cursor (a failover has undone the one that was folded, or retention has
        removed it), a cursor not beyond the stored memo of the same model version (unless `repair`). Memos of
        different model versions do not touch each other; the two versions first written last are kept.
        """
        ...

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """The newest `limit` kept events with a sequence below `before`; None for an unknown user."""
        ...

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """Remove an event as if it had never been (its sequence is not reused); False if there is none."""
        ...

    async def delete_user(self, user_id: str) -> int:
        """Remove everything under the user, in every place; the number of events removed.

        What a merge that was cut off (see there) has still to bring to the user is not under it yet. It comes in
        later, to a new log, as if the merge had been asked for after the deletion; to remove it, delete the other
        user, too.
        """
        ...

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """Move all of another user's events into the log of `user_id`, which is made if there is none.

        The log is then in order of the timestamps; equal ones stand with `user_id`'s own first, and each user's in
        order of arrival. Events before the first that this displaces keep their sequences; those from there on get
        new ones above the newest, so that no sequence ever names another event than before. Then retention by count
        applies. Ids of both stay known; of two events with one id that of `user_id` stays. All memos go, and the
        generation is new. The other user is gone, as after `delete_user`, and may begin anew.

        None for another user without a log, unless it was merged before (the newest `MERGES_KNOWN` are known): then
        the answer is that of the first time. The two must not be the same.

        An error leaves the merge not begun, done, or begun: then the events are in neither log, and only there, until
        the call is repeated or `finish_merges` comes by. They never stand in both logs, nor twice in one, also where
        a slow caller goes on after others have finished and either user was deleted or merged away.
        """
        ...

    async def finish_merges(self) -> int:
        """Finish merges that were begun and cut off, as many as can be; how many there were."""
        ...

    async def expire(self, user_ids: Sequence[str]) -> int:
        """Remove what is beyond the limit of age, if the store has one; the number of events removed.

        Of these users, who then has no events is gone, as after `delete_user`, also where others than this removed
        them.
        """
        ...

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """About `limit` users of the log from `cursor` on ("": the first), and where to go on ("": nowhere).

        Who is there all the while comes at least once, perhaps twice. A page may be empty and not the last.
        """
        ...

    async def records(self) -> dict[str, str]:
        """Every note: short texts by name that the processes on this store leave each other."""
        ...

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """Replace the note if it is `expected`, atomically; None is no note. Says whether it was."""
        ...

    async def ping(self) -> None:
        """Return if the backend answers."""
        ...

    async def close(self) -> None:
        """Release connections and files."""
        ...

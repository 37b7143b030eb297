"""The store on Redis, in whatever deployment: a script for each operation, run where the user's keys are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

from service.core.errors import StoreUnavailable
from service.core.events import RESERVED_EVENT_ID, AppendAndRead, History, LogView, Merged, SnapshotPut
from service.store.redis import layout
from service.store.redis.cluster import Cluster
from service.store.redis.layout import Script
from service.store.redis.node import Call, Node
from service.store.redis.pools import primary_pool, server_pool
from service.store.redis.url import Address, Target, parse_url
from service.store.redis.user_merge import UserMerge, new_generation

BUDGET_SECONDS = 1.0  # for one call of the store
DAY_SECONDS = 86_400


class Deployment(Protocol):
    """Where scripts run: one server, the primary that sentinels name, or a cluster."""

    async def run(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """Run `script` once for each of `calls`; those of one user in order. A reply for each, in order.

        `StoreUnavailable` stands where a call was refused for now, or where nobody knows what became of it; nothing
        of unknown outcome is sent again. Any other exception among the replies is a fault, of ours or of the data.
        `load` makes the script known first: without it, one that is unknown costs a second exchange.
        """
        ...

    async def scan(self, cursor: str, pattern: str, count: int) -> tuple[list[bytes], str]:
        """About `count` keys, those among them that match, and where to go on: see `Store.users`."""
        ...

    async def ping(self) -> None:
        """Return if users can be served; raises `StoreUnavailable`."""
        ...

    async def check(self) -> None:
        """Raise `StoreRefusedError` unless every server that takes writes answers and never evicts."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


async def open_redis(
    url: str, keep: int, budget: float = BUDGET_SECONDS, wait: int = 0, days: int | None = None
) -> RedisStore:
    """The store on the Redis at `url`; raises `StoreRefusedError` where it is unreachable or could evict events.

    `budget` is how many seconds one call may take, `wait` how many replicas must have what is acknowledged.
    `keep` and `days` are the limits of retention.
    """
    store = RedisStore(_deployment(parse_url(url), budget, wait), keep, wait, days)
    try:
        await store.check()
    except BaseException:
        await store.close()
        raise
    return store


def _deployment(target: Target, budget: float, wait: int) -> Deployment:
    def node(address: Address) -> Node:
        return Node(server_pool(target, address, budget), f"Redis at {address}", budget, wait)

    if target.kind == "cluster":
        return Cluster(target.addresses, node, budget)
    if target.kind == "sentinel":
        return Node(primary_pool(target, budget), f"the Redis primary {target.service}", budget, wait)
    return node(target.addresses[0])


class RedisStore:
    """See `service.core.ports.Store`; safe to share between tasks of one event loop."""

    def __init__(self, deployment: Deployment, keep: int, wait: int, days: int | None = None) -> None:
        self._deployment = deployment
        self._keep = keep
        self._days = days
        self._lasting = int(wait > 0)
        self._merges = UserMerge(self._replies, keep, self._lasting)

    async def check(self) -> None:
        """Raise `StoreRefusedError` unless every Redis that takes writes answers and never evicts."""
        await self._deployment.check()

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.visit`."""
        calls = [self._append_call(request) for request in requests]
        # Were the script unknown, a user's second visit might still find it loaded by another process and overtake
        # the first. Where that matters the script travels along.
        repeated = len({request.user_id for request in requests}) < len(requests)
        replies = await self._replies(layout.APPEND_AND_READ, calls, load=repeated)
        return [reply if isinstance(reply, StoreUnavailable) else layout.view(reply) for reply in replies]

    def _append_call(self, request: AppendAndRead) -> Call:
        user_id = request.user_id
        arguments: list[str | bytes | int] = [
            user_id,
            self._keep,
            new_generation(),
            request.model_version or "",
            self._lasting,
            self._limit(),
        ]
        for event in request.events:
            arguments += (event.item_id, repr(event.timestamp), event.event_id or "", event.fingerprint)
        return Call(layout.keys(user_id), arguments, lasting=bool(request.events))

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """See `Store.put_snapshots`."""
        calls = [
            Call(
                layout.keys(put.user_id)[:2],
                (put.generation, put.model_version, put.applied, put.blob, int(put.repair), put.newest),
            )
            for put in puts
        ]
        return [stored == 1 for stored in await self._run(layout.PUT_SNAPSHOT, calls)]

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store.history`."""
        call = Call(layout.keys(user_id)[:2], (limit, "" if before is None else before))
        [reply] = await self._run(layout.HISTORY, [call])
        if reply is None:
            return None
        sequence, trimmed, kept, entries = reply
        return History(sequence, kept, trimmed, layout.events_after(entries, 0))

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store.delete_event`."""
        named = event_id.removeprefix("seq-") if RESERVED_EVENT_ID.fullmatch(event_id) else ""
        arguments = (new_generation(), event_id, named, self._lasting)
        call = Call((*layout.keys(user_id), layout.deletions_key(user_id)), arguments, lasting=True)
        return await self._run(layout.DELETE_EVENT, [call]) == [1]

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        return await self._merges.delete_user(user_id)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store.merge`."""
        return await self._merges.merge(user_id, from_user_id)

    async def finish_merges(self) -> int:
        """See `Store.finish_merges`."""
        return await self._merges.finish_all()

    async def expire(self, user_ids: Sequence[str]) -> int:
        """See `Store.expire`."""
        if self._days is None:
            return 0
        limit = self._limit()
        calls = [
            Call((*layout.keys(user), layout.deletions_key(user), layout.pass_key(user)), (limit,))
            for user in user_ids
        ]
        return sum(await self._run(layout.EXPIRE, calls))

    def _limit(self) -> int:
        """The milliseconds since 1970 before which an event must have arrived to be removed; 0 for none."""
        return 0 if self._days is None else int(1000 * (time.time() - self._days * DAY_SECONDS))

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store.users`. A user has two keys, and a page counts those it looked at."""
        keys, following = await self._deployment.scan(cursor, layout.USERS, 2 * limit)
        found = (layout.user_of(key) for key in keys)
        return [user_id for user_id in found if user_id is not None], following

    async def records(self) -> dict[str, str]:
        """See `Store.notes`."""
        [reply] = await self._run(layout.RECORDS, [Call((layout.RECORDS_KEY,), ())])
        texts = [text.decode() for text in reply]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store.compare_and_set`."""
        # A note is a text of at least one character, so "" is free to say that there is none.
        call = Call((layout.RECORDS_KEY,), (name, expected or "", text or ""), lasting=True)
        return await self._run(layout.COMPARE_AND_SET, [call]) == [1]

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._deployment.ping()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._deployment.close()

    async def _run(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run `script` once for each of `calls`; one that is refused fails all."""
        replies = await self._replies(script, calls)
        for reply in replies:
            if isinstance(reply, StoreUnavailable):
                raise reply
        return replies

    async def _replies(self, script: Script, calls: Sequence[Call], *, load: bool = False) -> list[Any]:
        """As `_run`, but a call that Redis refused for now leaves a `StoreUnavailable` among the replies."""
        if not calls:
            return []
        replies = await self._deployment.run(script, calls, load=load)
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, StoreUnavailable):
                raise reply
        return replies

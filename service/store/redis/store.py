"""The event log on Redis: a script for each operation.

The deployment runs a script on the server that has the user's keys: see deployment.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from service.core.attribution.credits import CounterPage
from service.core.errors import StoreUnavailable
from service.core.events import (
    DAY_SECONDS,
    PLAIN,
    RESERVED_EVENT_ID,
    AppendAndRead,
    Appended,
    Conflict,
    History,
    LogView,
    Merged,
    SnapshotPut,
)
from service.store.errors import StoreUnreachableError
from service.store.redis import layout, lua_scripts
from service.store.redis.attribution_pages import attribution_key, decode_page, page_call
from service.store.redis.deployments.deployment import Call, Deployment, run_script
from service.store.redis.deployments.deployment_factory import create_deployment
from service.store.redis.deployments.url import parse_url
from service.store.redis.redis_catalogue import RedisCatalogue
from service.store.redis.redis_item_vectors import RedisItemVectors
from service.store.redis.user_merge.merge_protocol import UserMerge
from service.store.tls_errors import find_tls_fault

TIMEOUT_SECONDS = 1.0  # of one call of the store
_DUPLICATE, _CONFLICT = 1, 2  # outcomes of append_and_read.lua
_ENTRIES = 5  # their position in its reply
_DECODED_AT_ONCE = 1000  # entries, some 1 ms


async def open_redis(
    url: str,
    events_kept: int,
    min_replicas: int = 0,
    days_kept: int | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> RedisStore:
    """Open the store on the Redis at `url`.

    Args:
        url: The deployment; see url.py.
        events_kept: Number of events to keep of each user.
        min_replicas: Number of replicas that must have a write before it is acknowledged.
        days_kept: Days to keep an event after its arrival; None for no limit.
        timeout_seconds: Time that one call of the store may take.

    Raises:
        StoreRefusedError: Redis is unreachable, or it could evict events.
    """
    target = parse_url(url)
    deployment = create_deployment(target, min_replicas, timeout_seconds)
    try:
        await deployment.check()
    except StoreUnreachableError:
        await deployment.close()
        if target.tls and (fault := await asyncio.to_thread(find_tls_fault, target.addresses, target.options)):
            raise StoreUnreachableError(f"{fault}.") from None
        raise
    except BaseException:
        await deployment.close()
        raise
    return RedisStore(deployment, events_kept, min_replicas, days_kept)


class RedisStore:
    """See `service.core.ports.Store`. May be shared by the tasks of one event loop.

    `catalogue` and `item_vectors` are on the same servers.
    """

    def __init__(
        self, deployment: Deployment, events_kept: int, min_replicas: int = 0, days_kept: int | None = None
    ) -> None:
        self.catalogue = RedisCatalogue(deployment, min_replicas)
        self.item_vectors = RedisItemVectors(deployment, min_replicas)
        self._deployment = deployment
        self._events_kept = events_kept
        self._days_kept = days_kept
        self._must_write = int(min_replicas > 0)
        self._merges = UserMerge(deployment, events_kept, min_replicas)

    async def append_and_read(self, requests: Sequence[AppendAndRead]) -> list[LogView | StoreUnavailable]:
        """See `Store.append_and_read`."""
        oldest = 0 if self._days_kept is None else self._oldest_arrival(self._days_kept)
        calls = []
        for request in requests:
            arguments: list[str | bytes | int] = [
                request.user_id,
                self._events_kept,
                layout.new_token(),
                request.model_version or "",
                self._must_write,
                oldest,
            ]
            credited = False
            for event in request.events:
                payload = event.fingerprint
                if event[4:] != PLAIN:
                    payload += layout.encode_extras(event)
                    credited = credited or bool(event.credit)
                arguments += (event.item_id, repr(event.timestamp), event.event_id or "", payload)
            keys: tuple[str, ...] = layout.keys(request.user_id)
            if credited:
                keys = (*keys, attribution_key(request.user_id))
            calls.append(Call(keys, arguments, durable=bool(request.events)))
        # If a user's first request found the script unknown, and another process loaded it before the second request,
        # only the first would be sent again and take effect last. Sending the script along prevents that.
        repeated = len({request.user_id for request in requests}) < len(requests)
        replies = await run_script(self._deployment, lua_scripts.APPEND_AND_READ, calls, load=repeated, partial=True)
        views, decoded = [], 0
        for reply in replies:
            views.append(reply if isinstance(reply, StoreUnavailable) else _log_view(reply))
            decoded += 1 if isinstance(reply, StoreUnavailable) else len(reply[_ENTRIES])
            if decoded > _DECODED_AT_ONCE:
                decoded = 0
                await asyncio.sleep(0)  # other requests get their turn
        return views

    async def put_snapshots(self, puts: Sequence[SnapshotPut]) -> list[bool]:
        """See `Store.put_snapshots`."""
        calls = [
            Call(
                layout.keys(put.user_id)[:2],
                (put.generation, put.model_version, put.applied, put.blob, int(put.repair), put.newest),
            )
            for put in puts
        ]
        return [stored == 1 for stored in await run_script(self._deployment, lua_scripts.PUT_SNAPSHOT, calls)]

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store.history`."""
        call = Call(layout.keys(user_id)[:2], (limit, "" if before is None else before))
        [reply] = await run_script(self._deployment, lua_scripts.HISTORY, [call])
        if reply is None:
            return None
        sequence, trimmed, kept, entries = reply
        events, _ = layout.decode_events(entries)
        return History(sequence, kept, trimmed, events)

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store.delete_event`."""
        sequence = event_id.removeprefix("seq-") if RESERVED_EVENT_ID.fullmatch(event_id) else ""
        arguments = (layout.new_token(), event_id, sequence, self._must_write)
        keys = (*layout.keys(user_id), layout.deletions_key(user_id), attribution_key(user_id))
        call = Call(keys, arguments, durable=True)
        return await run_script(self._deployment, lua_scripts.DELETE_EVENT, [call]) == [1]

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
        if self._days_kept is None:
            return 0
        oldest = self._oldest_arrival(self._days_kept)
        calls = [
            Call((*layout.keys(user), layout.deletions_key(user), layout.token_key(user)), (oldest,))
            for user in user_ids
        ]
        removed = 0
        while calls:
            replies = await run_script(self._deployment, lua_scripts.EXPIRE, calls)
            removed += sum(replies)
            calls = [call for call, reply in zip(calls, replies, strict=True) if reply == lua_scripts.PIECE]
        return removed

    @staticmethod
    def _oldest_arrival(days_kept: int) -> int:
        """Return the arrival before which events expire, in milliseconds since 1970."""
        return int(1000 * (time.time() - days_kept * DAY_SECONDS))

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store.users`."""
        # Redis counts the keys that it looks at, and a user has two.
        keys, following = await self._deployment.scan(cursor, layout.USERS_PATTERN, 2 * limit)
        found = (layout.user_of(key) for key in keys)
        return [user_id for user_id in found if user_id is not None], following

    async def attribution_counters(self, pages: Sequence[CounterPage]) -> list[tuple[dict[str, int], str]]:
        """See `CounterStore.attribution_counters`."""
        replies = await run_script(self._deployment, lua_scripts.READ_ATTRIBUTION, list(map(page_call, pages)))
        return list(map(decode_page, replies))

    async def records(self) -> dict[str, str]:
        """See `Store.records`."""
        [reply] = await run_script(self._deployment, lua_scripts.RECORDS, [Call((layout.RECORDS_KEY,), ())])
        texts = [text.decode() for text in reply]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def compare_and_set(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store.compare_and_set`."""
        # A record's text is never empty, so the script takes "" for no record.
        call = Call((layout.RECORDS_KEY,), (name, expected or "", text or ""), durable=True)
        return await run_script(self._deployment, lua_scripts.COMPARE_AND_SET, [call]) == [1]

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._deployment.ping()

    async def memory_used(self) -> float | None:
        """See `Store.memory_used`."""
        return await self._deployment.memory_used()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._deployment.close()


def _log_view(reply: list[Any]) -> LogView | StoreUnavailable:
    """Convert the reply of append_and_read.lua."""
    generation, sequence, trimmed, snapshot, applied, entries, outcomes, *typed_from = reply
    try:
        pending, newest = layout.decode_events(entries, applied)
    except StoreUnavailable as error:
        return error
    return LogView(
        "" if generation is None else generation.decode(),
        sequence,
        trimmed,
        snapshot,
        pending,
        tuple(
            Conflict(first) if kind == _CONFLICT else Appended(first, kind == _DUPLICATE) for first, kind in outcomes
        ),
        newest,
        (typed_from[0] if typed_from else 0) or 0,
    )

"""The store on one Redis: a script for each operation, all visits of a batch in one pipeline."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.core.errors import StoreUnavailable
from service.core.events import RESERVED_EVENT_ID, History, MemoPut, Snapshot, Visit
from service.store import redis_layout as layout
from service.store.redis_connections import Command, Connections
from service.store.redis_layout import Script
from service.store.refused import StoreRefused

BUDGET_SECONDS = 1.0  # for one round trip
MAX_CONNECTIONS = 16

# Answers by which Redis says "not now" rather than "not so".
_PASSING = ("MISCONF", "NOREPLICAS", "BUSY")

_Call = list[str | bytes | int]


async def open_redis(url: str, keep: int, budget: float = BUDGET_SECONDS) -> RedisStore:
    """The store on the Redis at `url`; raises `StoreRefused` where it is unreachable or could evict events.

    `budget` is how many seconds one round trip may take.
    """
    try:
        pool = ConnectionPool.from_url(
            url,
            # Some of the client's defaults repeat even scripts, and nothing recognises an append without an event_id.
            retry=Retry(NoBackoff(), 0),
            # The budget is one timer around a whole batch; the client's own would be set anew for every reply.
            socket_timeout=None,
            socket_connect_timeout=budget,
            decode_responses=False,
            protocol=2,
        )
    except ValueError:
        raise StoreRefused("the Redis URL is malformed; write redis://[user:password@]host:port/0.") from None
    store = RedisStore(Redis(connection_pool=pool), keep, budget)
    try:
        await store.check()
    except BaseException:
        await store.close()
        raise
    return store


class RedisStore:
    """See `service.core.ports.Store`; safe to share between tasks of one event loop."""

    def __init__(self, client: Redis, keep: int, budget: float = BUDGET_SECONDS) -> None:
        self._client = client
        self._connections = Connections(client.connection_pool, MAX_CONNECTIONS)
        self._keep = keep
        self._budget = budget
        target = client.connection_pool.connection_kwargs
        self._place = f"{target.get('host', 'localhost')}:{target.get('port', 6379)}"

    async def check(self) -> None:
        """Raise `StoreRefused` unless Redis answers and never evicts."""
        try:
            async with asyncio.timeout(self._budget):
                policy = await self._eviction_policy()
        except AuthenticationError:
            raise StoreRefused(
                f"Redis at {self._place} refuses the credentials; correct user and password in the state URL."
            ) from None
        except ResponseError as error:
            raise StoreRefused(
                f"Redis at {self._place} will not tell its eviction policy ({error}); allow CONFIG GET or INFO."
            ) from None
        except (RedisError, OSError):  # a timer's TimeoutError is an OSError
            raise StoreRefused(
                f"Redis at {self._place} cannot be reached; start it or correct the state URL."
            ) from None
        if policy != "noeviction":
            raise StoreRefused(
                f"Redis at {self._place} may evict events (maxmemory-policy is {policy}); set it to noeviction."
            )

    async def _eviction_policy(self) -> str:
        try:
            answer = await self._client.config_get("maxmemory-policy")
            [policy] = answer.values()
        except ResponseError:  # managed services forbid CONFIG
            policy = (await self._client.info("memory"))["maxmemory_policy"]
        return policy.decode() if isinstance(policy, bytes) else str(policy)

    async def visit(self, visits: Sequence[Visit]) -> list[Snapshot | StoreUnavailable]:
        """See `Store.visit`."""
        calls = [self._visit_call(visit) for visit in visits]
        # Were the script unknown, a user's second visit might still find it loaded by another process and overtake
        # the first. Where that matters the script travels along.
        repeated = len({visit.user_id for visit in visits}) < len(visits)
        try:
            replies = await self._replies(layout.VISIT, calls, load=repeated)
        except StoreUnavailable as error:
            return [error] * len(visits)
        return [reply if isinstance(reply, StoreUnavailable) else layout.snapshot(reply) for reply in replies]

    def _visit_call(self, visit: Visit) -> _Call:
        user_id = visit.user_id
        call: _Call = [3, *layout.keys(user_id), user_id, self._keep, _new_generation(), visit.model_version or ""]
        for event in visit.events:
            call += (event.item_id, repr(event.timestamp), event.event_id or "", event.fingerprint)
        return call

    async def put_memos(self, puts: Sequence[MemoPut]) -> list[bool]:
        """See `Store.put_memos`."""
        calls: list[_Call] = [
            [
                1,
                layout.keys(put.user_id)[0],
                put.generation,
                put.model_version,
                put.applied,
                put.blob,
                int(put.repair),
            ]
            for put in puts
        ]
        return [stored == 1 for stored in await self._run(layout.PUT_MEMO, calls)]

    async def history(self, user_id: str, before: int | None, limit: int) -> History | None:
        """See `Store.history`."""
        call: _Call = [2, *layout.keys(user_id)[:2], limit, "" if before is None else before]
        [reply] = await self._run(layout.HISTORY, [call])
        if reply is None:
            return None
        sequence, trimmed, kept, entries = reply
        return History(sequence, kept, trimmed, layout.events_after(entries, 0))

    async def delete_event(self, user_id: str, event_id: str) -> bool:
        """See `Store.delete_event`."""
        named = event_id.removeprefix("seq-") if RESERVED_EVENT_ID.fullmatch(event_id) else ""
        call: _Call = [4, *_removal_keys(user_id), _new_generation(), event_id, named]
        return await self._run(layout.DELETE_EVENT, [call]) == [1]

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        [removed] = await self._run(layout.DELETE_USER, [[4, *_removal_keys(user_id)]])
        return int(removed)

    async def users(self, cursor: str, limit: int) -> tuple[list[str], str]:
        """See `Store.users`. A user has two keys, and a page counts those it looked at."""
        [reply] = await self._pipeline([("SCAN", cursor or "0", "MATCH", layout.USERS, "COUNT", 2 * limit)])
        if isinstance(reply, Exception):
            raise self._translated(reply)
        following = reply[0].decode()
        found = (layout.user_of(key) for key in reply[1])
        return [user_id for user_id in found if user_id is not None], "" if following == "0" else following

    async def notes(self) -> dict[str, str]:
        """See `Store.notes`."""
        [reply] = await self._pipeline([("HGETALL", layout.NOTES)])
        if isinstance(reply, Exception):
            raise self._translated(reply)
        texts = [text.decode() for text in reply]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    async def swap_note(self, name: str, expected: str | None, text: str | None) -> bool:
        """See `Store.swap_note`."""
        # A note is a text of at least one character, so "" is free to say that there is none.
        return await self._run(layout.SWAP_NOTE, [[1, layout.NOTES, name, expected or "", text or ""]]) == [1]

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._pipeline([("PING",)])

    async def close(self) -> None:
        """See `Store.close`."""
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _run(self, script: Script, calls: Sequence[_Call]) -> list[Any]:
        """Run `script` once for each of `calls`, in order and in one round trip; one that is refused fails all."""
        replies = await self._replies(script, calls)
        for reply in replies:
            if isinstance(reply, StoreUnavailable):
                raise reply
        return replies

    async def _replies(self, script: Script, calls: Sequence[_Call], *, load: bool = False) -> list[Any]:
        """As `_run`, but a call that Redis refused for now leaves a `StoreUnavailable` among the replies.

        Whatever else Redis answers with an error is a fault, of ours or of the data, and is raised.
        """
        replies = await self._scripted(script, calls, load=load)
        # NOSCRIPT (Redis was restarted, or a replica took over) says that this call did nothing.
        missed = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missed:
            again = await self._scripted(script, [calls[index] for index in missed], load=True)
            for index, reply in zip(missed, again, strict=True):
                replies[index] = reply
        return [self._refusal(reply) if isinstance(reply, Exception) else reply for reply in replies]

    def _refusal(self, error: Exception) -> StoreUnavailable:
        translated = self._translated(error)
        if isinstance(translated, StoreUnavailable):
            return translated
        raise translated

    async def _scripted(self, script: Script, calls: Sequence[_Call], *, load: bool) -> list[Any]:
        commands: list[Command] = [("EVALSHA", script.digest, *call) for call in calls]
        if not load:
            return await self._pipeline(commands)
        return (await self._pipeline([("SCRIPT", "LOAD", script.source), *commands]))[1:]

    async def _pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to `commands`, errors that Redis answered among them, within the budget."""
        try:
            async with asyncio.timeout(self._budget):
                return await self._connections.exchange(commands)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        """`error` as the use cases know it; what cannot be a passing state of Redis stays as it is, for the log."""
        if isinstance(error, OutOfMemoryError):
            return self._unavailable("has no memory left for events")
        if isinstance(error, ReadOnlyError | MasterDownError) or str(error).startswith(_PASSING):
            return self._unavailable("takes no events at the moment")
        if isinstance(error, RedisTimeoutError | TimeoutError):
            return self._unavailable("did not answer in time")
        if isinstance(error, RedisConnectionError | NoScriptError | OSError):
            return self._unavailable("cannot be reached or is not ready")
        return error

    def _unavailable(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(f"the event log {what}", for_log=f"Redis at {self._place} {what}")


def _removal_keys(user_id: str) -> tuple[str, ...]:
    return (*layout.keys(user_id), layout.deletions_key(user_id))


def _new_generation() -> str:
    return secrets.token_hex(8)

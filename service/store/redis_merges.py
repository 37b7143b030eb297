"""How one user's log gets into another's on Redis, where no script may touch the keys of both.

    park     source's shard  the log leaves the user's keys for the hash of parked logs, with the name of the target
    merge    target's shard  its events go into the target's log, with a record of its generation and sequence
    unpark   source's shard  the parked log is deleted
    settle   target's shard  the record need not outlive anything any more

Each step is one script and may be repeated: parking finds what is parked, merging finds its record, the others find
nothing. So whoever finds a parked log goes on from there, at the same time as others if need be. While it is parked
the source is free for a new log, and nobody can edit what is on its way: the merge counts from the parking on.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.core.errors import StoreUnavailable
from service.core.events import Merged
from service.store import redis_layout as layout
from service.store.redis_layout import Script
from service.store.redis_node import Call

MERGES_KNOWN = 32
_ROUNDS = 32  # more than that takes others who merge into the same user all the time
_UNSETTLED, _PARKED_NOW = 0, 2


class Merges:
    """What takes several scripts. `run` runs one, once for each call; `lasting` is 1 where replicas must follow."""

    def __init__(
        self, run: Callable[[Script, Sequence[Call]], Awaitable[list[Any]]], keep: int, lasting: int
    ) -> None:
        self._run = run
        self._keep = keep
        self._lasting = lasting

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store.merge`."""
        merged: Merged | None = None
        # What is found parked may be older than this call. What is found after that is moved cannot be: with it all
        # has been moved that was there when the call began.
        for _ in range(2):
            parked = await self._park(from_user_id, user_id)
            if parked is None:
                break
            kind, target, generation, log = parked
            done = await self._move(target, from_user_id, generation, log)
            if target == user_id:
                merged = done if merged is None else _sum(merged, done)
            if kind == _PARKED_NOW:
                break
        return merged or await self._known(user_id, from_user_id)

    async def finish_all(self) -> int:
        """See `Store.finish_merges`."""
        replies = await self._run(layout.PARKED, [Call((key,), ()) for key in layout.moving_keys()])
        names = [name.decode() for reply in replies for name in reply]
        for source, target in zip(names[::2], names[1::2], strict=True):
            parked = await self._park(source, target, resume=True)
            if parked is not None:
                await self._move(parked[1], source, *parked[2:])
        return len(names) // 2

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        call = Call(_all_keys(user_id), (user_id, self._lasting), lasting=True)
        for _ in range(_ROUNDS):
            [reply] = await self._run(layout.DELETE_USER, [call])
            if isinstance(reply, int):
                return reply
            await self._settle_all(user_id, reply)
        raise _contended()

    async def _park(self, user_id: str, target: str, *, resume: bool = False) -> tuple[int, str, bytes, bytes] | None:
        """What park.lua answers, once nothing has to be finished before; None if there is nothing to move."""
        call = Call(_all_keys(user_id), (user_id, target, int(resume), self._lasting), lasting=True)
        for _ in range(_ROUNDS):
            [reply] = await self._run(layout.PARK, [call])
            if reply is None:
                return None
            kind, *rest = reply
            if kind != _UNSETTLED:
                target_id, generation, log = rest
                return kind, target_id.decode(), generation, log
            await self._settle_all(user_id, rest)
        raise _contended()

    async def _move(self, user_id: str, source: str, generation: bytes, log: bytes) -> Merged:
        [reply] = await self._run(layout.MERGE, [self._merge_call(user_id, source, log)])
        await self._settle(user_id, source, generation)
        return _merged(reply)

    async def _known(self, user_id: str, source: str) -> Merged | None:
        [reply] = await self._run(layout.MERGE, [self._merge_call(user_id, source, b"")])
        if reply is None:
            return None
        if reply[-1]:
            await self._settle(user_id, source, reply[-2])
        return _merged(reply)

    def _merge_call(self, user_id: str, source: str, log: bytes) -> Call:
        keys = (*layout.keys(user_id), layout.deletions_key(user_id))
        return Call(keys, (user_id, self._keep, new_generation(), source, log, self._lasting), lasting=True)

    async def _settle_all(self, user_id: str, merges: Sequence[bytes]) -> None:
        for source, generation in zip(merges[::2], merges[1::2], strict=True):
            await self._settle(user_id, source.decode(), generation)

    async def _settle(self, user_id: str, source: str, generation: bytes) -> None:
        keys = (layout.moving_key(source), layout.deletions_key(source))
        await self._run(layout.UNPARK, [Call(keys, (source, generation, self._lasting), lasting=True)])
        await self._run(layout.SETTLE, [Call(layout.keys(user_id)[:1], (source, generation, MERGES_KNOWN))])


def new_generation() -> str:
    """A token that no history has had."""
    return secrets.token_hex(8)


def _all_keys(user_id: str) -> tuple[str, ...]:
    return (*layout.keys(user_id), layout.deletions_key(user_id), layout.moving_key(user_id))


def _merged(reply: Sequence[int]) -> Merged:
    repeated, moved, duplicates, conflicts, sequence, *_ = reply
    return Merged(moved, duplicates, conflicts, sequence, bool(repeated))


def _sum(first: Merged, second: Merged) -> Merged:
    return Merged(
        first.moved + second.moved,
        first.duplicates + second.duplicates,
        first.conflicts + second.conflicts,
        second.sequence,
        first.repeated and second.repeated,
    )


def _contended() -> StoreUnavailable:
    return StoreUnavailable("the event log is moving the user's data")

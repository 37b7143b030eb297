"""Merging users and deleting users, in steps that each touch one shard.

No script may touch the keys of two users that lie in different slots. A merge therefore has six steps:

    1. detach       source's shard   move the log from the user's keys to the hash of detached logs
    2. grant_token  target's shard   get the target's token, or create one that lasts 10 seconds
    3. detach       source's shard   read the detached log, if it is still there
    4. apply        target's shard   insert its events into the target's log, and write a record of the merge
    5. discard      source's shard   delete the detached log
    6. finalize     target's shard   mark the record as finished

Each step is one script and may be repeated, so that any process can go on from a detached log that it finds, also
while others do the same. A log is applied once because of two rules: `apply` does nothing if the target has a record
of the log, and `apply` requires the token under which the log was read. Removing a finished record removes the token
too. So a process that was paused between reading and applying until the record was gone has no valid token; it gets
a new one and reads again. Decision 0049 has the whole argument.

Deleting a user whose log is detached empties that log, revokes the target's token, then discards the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.core.errors import StoreUnavailable
from service.core.events import MERGES_KNOWN, Merged
from service.store.redis import layout, lua_scripts
from service.store.redis.deployment import Call, Deployment, run_script
from service.store.redis.lua_scripts import Script

_MAX_ATTEMPTS = 32  # exceeded only if others merge into the same user without a pause
_TOKEN_MILLISECONDS = 10_000


class _Detached(NamedTuple):
    """A detached log.

    new         whether this call detached it.
    target      the user that it is to be merged into.
    generation  its generation, which tells it from later logs of the same user.
    content     the log, if it was asked for.
    """

    new: bool
    target: str
    generation: bytes
    content: bytes


class UserMerge:
    """The operations of the store that need several scripts."""

    def __init__(self, deployment: Deployment, events_kept: int, min_replicas: int = 0) -> None:
        self._deployment = deployment
        self._events_kept = events_kept
        self._must_write = int(min_replicas > 0)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store.merge`."""
        merged: Merged | None = None
        # The first log found may have been detached by an earlier call. The second one cannot: with it, everything
        # that was there when this call began has been moved.
        for _ in range(2):
            detached = await self._detach(from_user_id, user_id)
            if detached is None:
                break
            result = await self._move(detached.target, from_user_id, detached.generation)
            if detached.target == user_id:
                result = result or await self._earlier_result(user_id, from_user_id)
                merged = _sum(merged, result) if merged and result else result or merged
            if detached.new:
                break
        return merged or await self._earlier_result(user_id, from_user_id)

    async def finish_all(self) -> int:
        """See `Store.finish_merges`."""
        calls = [Call((key,), ()) for key in layout.detached_keys()]
        replies = await run_script(self._deployment, lua_scripts.LIST_DETACHED, calls, partial=True)
        failures = [reply for reply in replies if isinstance(reply, StoreUnavailable)]
        names = [name.decode() for reply in replies if not isinstance(reply, StoreUnavailable) for name in reply]
        for source, target in zip(names[::2], names[1::2], strict=True):
            try:
                detached = await self._detach(source, target, read_only=True)
                if detached is not None:
                    await self._move(detached.target, source, detached.generation)
            except StoreUnavailable as error:  # the other logs may be on servers that answer
                failures.append(error)
        if failures:
            raise failures[0]
        return len(names) // 2

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        call = Call(_all_keys(user_id), (user_id, self._must_write), durable=True)
        deleted = 0
        for _ in range(_MAX_ATTEMPTS):
            reply = await self._run(lua_scripts.DELETE_USER, call)
            if isinstance(reply, int):
                return deleted + reply
            kind, *rest = reply
            if kind == b"finalize":
                await self._finalize_all(user_id, rest)
            else:
                target, generation, emptied = rest
                deleted += emptied
                await self._revoke(target.decode(), user_id, generation)
        raise _contended()

    async def _detach(self, source: str, target: str, *, read_only: bool = False) -> _Detached | None:
        """Detach the log of `source` for `target`, unless it is detached already.

        With `read_only` nothing is detached, and a detached log is returned with its content. If detach.lua
        reports an unfinished merge or deletion, finish it first. None if there is nothing to move.
        """
        call = Call(_all_keys(source), (source, target, int(read_only), self._must_write), durable=True)
        for _ in range(_MAX_ATTEMPTS):
            reply = await self._run(lua_scripts.DETACH, call)
            if reply is None:
                return None
            kind, *rest = reply
            if kind == b"finalize":
                await self._finalize_all(source, rest)
            elif kind == b"emptied":
                await self._revoke(rest[0].decode(), source, rest[1])
            else:
                return _Detached(kind == b"detached", rest[0].decode(), rest[1], rest[2] if read_only else b"")
        raise _contended()

    async def _move(self, user_id: str, source: str, generation: bytes) -> Merged | None:
        """Apply a detached log to its target; None if another process did."""
        grant = Call((layout.token_key(user_id),), (layout.new_token(), _TOKEN_MILLISECONDS))
        for _ in range(_MAX_ATTEMPTS):
            token = await self._run(lua_scripts.GRANT_TOKEN, grant)
            detached = await self._detach(source, user_id, read_only=True)
            if detached is None or detached.generation != generation:
                return None
            reply = await self._run(lua_scripts.APPLY, self._apply_call(user_id, source, detached.content, token))
            if reply is not None:
                await self._finalize(user_id, source, generation)
                return _merged(reply)
        raise _contended()

    async def _earlier_result(self, user_id: str, source: str) -> Merged | None:
        """Return the recorded result of the newest merge of `source`, or None."""
        reply = await self._run(lua_scripts.APPLY, self._apply_call(user_id, source, b"", b""))
        if reply is None:
            return None
        *_, generation, pending = reply
        if pending:
            await self._finalize(user_id, source, generation)
        return _merged(reply)

    def _apply_call(self, user_id: str, source: str, log: bytes, token: bytes) -> Call:
        keys = (*layout.keys(user_id), layout.deletions_key(user_id), layout.token_key(user_id))
        arguments = (user_id, self._events_kept, layout.new_token(), source, log, self._must_write, token)
        return Call(keys, arguments, durable=True)

    async def _finalize_all(self, user_id: str, merges: Sequence[bytes]) -> None:
        for source, generation in zip(merges[::2], merges[1::2], strict=True):
            await self._finalize(user_id, source.decode(), generation)

    async def _finalize(self, user_id: str, source: str, generation: bytes) -> None:
        """Do steps 5 and 6 of a merge."""
        await self._discard(source, generation)
        keys = (layout.keys(user_id)[0], layout.token_key(user_id))
        await self._run(lua_scripts.FINALIZE, Call(keys, (source, generation, MERGES_KNOWN)))

    async def _revoke(self, target: str, source: str, generation: bytes) -> None:
        """Finish the deletion of `source`, whose detached log has been emptied."""
        keys = (layout.token_key(target), layout.deletions_key(target))
        await self._run(lua_scripts.REVOKE_TOKEN, Call(keys, (self._must_write,), durable=True))
        await self._discard(source, generation)

    async def _discard(self, source: str, generation: bytes) -> None:
        keys = (layout.detached_key(source), layout.deletions_key(source))
        await self._run(lua_scripts.DISCARD, Call(keys, (source, generation, self._must_write), durable=True))

    async def _run(self, script: Script, call: Call) -> Any:  # noqa: ANN401 - the script decides
        [reply] = await run_script(self._deployment, script, [call])
        return reply


def _all_keys(user_id: str) -> tuple[str, ...]:
    return (
        *layout.keys(user_id),
        layout.deletions_key(user_id),
        layout.detached_key(user_id),
        layout.token_key(user_id),
    )


def _merged(reply: Sequence[int]) -> Merged:
    """Convert the reply of apply.lua."""
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

"""Merging users and deleting users, in steps that each touch one shard.

No script may touch the keys of two users that lie in different slots. A merge therefore has nine steps:

    1. detach         source's shard   move the user's hash and log to the keys of detached logs
    2. grant_token    target's shard   get the target's token, or create one that lasts some minutes
    3. read_detached  source's shard   read the detached log, and remove its events from the shard's stream
    4. read_target    target's shard   read the target's log
    5. stage          target's shard   write the merged log under keys that nobody reads
    6. apply          target's shard   make it the target's log, with a record of the merge, if nothing has changed
    7. stream_moved   target's shard   add the moved events to the shard's stream
    8. discard        source's shard   delete the detached log
    9. finalize       target's shard   mark the record as finished

Each step but 1, 2, 6 and 9 is repeated until a long log is done: Redis runs nothing else during a script (decision
0110). Any process can go on from a detached log that it finds, also while others do the same. A log is applied once
because of two rules: `apply` changes nothing if the target has got a record since it was read, and it requires the
token under which the detached log was read. Removing a finished record removes the token too. So a process that was
paused between reading and applying until the record was gone has no valid token; it gets a new one and reads again.
Decision 0049 has the whole argument.

Deleting a user whose log is detached empties that log, revokes the target's token, then discards the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from service.core.errors import StoreUnavailable
from service.core.events import MERGES_KNOWN, Merged
from service.store.redis import layout, lua_scripts
from service.store.redis.deployments.deployment import Call, Deployment, run_script
from service.store.redis.lua_scripts import Script
from service.store.redis.user_merge.log_transfer import LogTransfer
from service.store.redis.user_merge.merge_plan import LogEntry, MergePlan, TargetLog, plan_merge

_MAX_ATTEMPTS = 32  # exceeded only if others change the same user without a pause
_TOKEN_MILLISECONDS = 600_000  # more than the steps of the longest logs take
_PLANNED_INLINE = 200  # events; some 0.5 ms


class _Detached(NamedTuple):
    """A detached log.

    new         whether this call detached it.
    target      the user that it is to be merged into.
    generation  its generation, which tells it from later logs of the same user.
    sequence    the user's newest sequence.
    """

    new: bool
    target: str
    generation: bytes
    sequence: int


class UserMerge:
    """The operations of the store that need several scripts."""

    def __init__(self, deployment: Deployment, events_kept: int, min_replicas: int = 0) -> None:
        self._deployment = deployment
        self._events_kept = events_kept
        self._must_write = int(min_replicas > 0)
        self._transfer = LogTransfer(deployment, self._must_write)

    async def merge(self, user_id: str, from_user_id: str) -> Merged | None:
        """See `Store.merge`."""
        merged: Merged | None = None
        # The first log found may have been detached by an earlier call. The second one cannot: with it, everything
        # that was there when this call began has been moved.
        for _ in range(2):
            detached = await self._detach(from_user_id, user_id)
            if detached is None:
                break
            result = await self._move(from_user_id, detached)
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
                detached = await self._detach(source, target, resume_only=True)
                if detached is not None:
                    await self._move(source, detached)
            except StoreUnavailable as error:  # the other logs may be on servers that answer
                failures.append(error)
        if failures:
            raise failures[0]
        return len(names) // 2

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        keys = (*_keys(user_id), layout.token_key(user_id), *layout.detached_log_keys(user_id))
        call = Call(keys, (user_id, self._must_write), durable=True)
        deleted, attempts = 0, 0
        while attempts < _MAX_ATTEMPTS:
            reply = await self._run(lua_scripts.DELETE_USER, call)
            if isinstance(reply, int):
                return deleted + reply
            kind, *rest = reply
            if kind == b"more":
                deleted += rest[0]
                continue
            attempts += 1
            if kind == b"finalize":
                await self._finalize_all(user_id, rest)
            else:
                target, generation, emptied = rest
                deleted += emptied
                await self._revoke(target.decode(), user_id, generation)
        raise _contended()

    async def _detach(self, source: str, target: str, *, resume_only: bool = False) -> _Detached | None:
        """Detach the log of `source` for `target`, unless it is detached already.

        With `resume_only` nothing is detached. If detach.lua reports an unfinished merge or deletion, finish it
        first. None if there is nothing to move.
        """
        user, log, _, deletions, detached = _keys(source)
        keys = (user, log, deletions, detached, layout.token_key(source), *layout.detached_log_keys(source))
        call = Call(keys, (source, target, int(resume_only), self._must_write), durable=True)
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
                return _Detached(kind == b"detached", rest[0].decode(), rest[1], rest[2])
        raise _contended()

    async def _move(self, source: str, detached: _Detached) -> Merged | None:
        """Apply a detached log to its target; None if another process did."""
        user_id, generation = detached.target, detached.generation
        grant = Call((layout.token_key(user_id),), (layout.new_token(), _TOKEN_MILLISECONDS))
        for _ in range(_MAX_ATTEMPTS):
            token = await self._run(lua_scripts.GRANT_TOKEN, grant)
            theirs = await self._transfer.read_detached(source, generation)
            if theirs is None:
                return None
            own = await self._transfer.read_target(user_id, source, generation)
            if own is None:
                continue
            if own.unstreamed:
                await self._transfer.stream_moved(user_id)
            elif own.applied >= detached.sequence:
                if (found := await self._recorded(user_id, source, generation)) is not None:
                    await self._finalize(user_id, source, generation)
                    return found
            else:
                plan = await self._plan(own, theirs)
                if await self._apply(source, detached, token, own, plan):
                    await self._finalize(user_id, source, generation)
                    return Merged(plan.moved, plan.duplicates, plan.conflicts, plan.sequence)
        raise _contended()

    async def _plan(self, own: TargetLog, theirs: Sequence[LogEntry]) -> MergePlan:
        if len(own.entries) + len(theirs) <= _PLANNED_INLINE:
            return plan_merge(own, theirs, self._events_kept)
        return await asyncio.to_thread(plan_merge, own, theirs, self._events_kept)

    async def _apply(self, source: str, detached: _Detached, token: bytes, own: TargetLog, plan: MergePlan) -> bool:
        """Write the merged log; return False if something has changed."""
        user_id, generation = detached.target, layout.new_token()
        staged = layout.staged_keys(user_id, generation)
        await self._transfer.stage(staged, plan)
        user, log, _, deletions, _ = _keys(user_id)
        replaced_user, replaced_log = layout.replaced_keys(user_id)
        keys = (user, log, deletions, layout.token_key(user_id), *staged, replaced_log, replaced_user)
        newest = own.stored[-1] if own.stored else b""
        arguments = (
            *(source, detached.generation, detached.sequence, token, own.head, own.merges, newest, len(plan.entries)),
            *(generation, plan.sequence, plan.trimmed, plan.moved, plan.duplicates, plan.conflicts),
        )
        applied: int = await self._run(lua_scripts.APPLY, Call(keys, arguments, durable=True))
        return applied == 1

    async def _earlier_result(self, user_id: str, source: str) -> Merged | None:
        """Return the recorded result of the newest merge of `source`, or None."""
        return await self._recorded(user_id, source, b"")

    async def _recorded(self, user_id: str, source: str, generation: bytes) -> Merged | None:
        call = Call((layout.keys(user_id)[0],), (source, generation, self._must_write), durable=True)
        reply = await self._run(lua_scripts.FIND_MERGE, call)
        if reply is None:
            return None
        moved, duplicates, conflicts, sequence, found, pending = reply
        if pending and not generation:
            await self._finalize(user_id, source, found)
        return Merged(moved, duplicates, conflicts, sequence, repeated=True)

    async def _finalize_all(self, user_id: str, merges: Sequence[bytes]) -> None:
        for source, generation in zip(merges[::2], merges[1::2], strict=True):
            await self._finalize(user_id, source.decode(), generation)

    async def _finalize(self, user_id: str, source: str, generation: bytes) -> None:
        """Do steps 7 to 9 of a merge."""
        await self._transfer.stream_moved(user_id)
        await self._transfer.discard(source, generation)
        keys = (layout.keys(user_id)[0], layout.token_key(user_id))
        await self._run(lua_scripts.FINALIZE, Call(keys, (source, generation, MERGES_KNOWN)))

    async def _revoke(self, target: str, source: str, generation: bytes) -> None:
        """Finish the deletion of `source`, whose detached log has been emptied."""
        keys = (layout.token_key(target), layout.deletions_key(target))
        await self._run(lua_scripts.REVOKE_TOKEN, Call(keys, (self._must_write,), durable=True))
        await self._transfer.discard(source, generation)

    async def _run(self, script: Script, call: Call) -> Any:  # noqa: ANN401 - the script decides
        [reply] = await run_script(self._deployment, script, [call])
        return reply


def _keys(user_id: str) -> tuple[str, str, str, str, str]:
    return (*layout.keys(user_id), layout.deletions_key(user_id), layout.detached_key(user_id))


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

"""How one user's log gets into another's on Redis, where no script may touch the keys of both.

    park       source's shard  the log leaves the user's keys for the hash of parked logs, with the name of the target
    open_pass  target's shard  there is a pass now, under which logs that are read from here on may be brought
    park       source's shard  the parked log is read, if it is still there
    merge      target's shard  its events go into the target's log, with a record of its generation and sequence
    unpark     source's shard  the parked log is deleted
    settle     target's shard  the record need not outlive anything any more

Each step is one script and may be repeated: parking finds what is parked, merging finds its record, the others find
nothing. So whoever finds a parked log goes on from there, at the same time as others if need be. While it is parked
the source is free for a new log, and nobody can edit what is on its way: the merge counts from the parking on.

Why a log comes in only once, however long one who has read it stands still. The pass is a token that is never used
again. A record is removed (with its user, who is deleted or merged away, or as the oldest of many) only after its log
was unparked, and in the same script as the pass. merge.lua places a log only under the pass that was there before the
log was read. So when it was read no record of it had been removed yet, or it would have been unparked; none has been
removed since, or the pass would be gone; and where there is a record nothing comes in again. A pass also ends by
itself after some seconds, for its merge may have been cut off. Whose pass is gone gets another and reads again.

Deleting the source of a parked log empties that first, then revokes the target's pass, then unparks it: whoever has
read it before comes too late, and whoever finds it empty does the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from service.core.errors import StoreUnavailable
from service.core.events import Merged
from service.core.ports import MERGES_KNOWN
from service.store.redis import layout
from service.store.redis.layout import Script
from service.store.redis.node import Call

_ROUNDS = 32  # more than that takes others who merge into the same user all the time
_PASS_MILLISECONDS = 10_000
_UNSETTLED, _PARKED_NOW, _EMPTIED = 0, 2, 3  # what park.lua answers first
_TO_FINISH = 0  # what delete_user.lua does
_tokens = Random()  # noqa: S311 - apart from the module's own generator, which others may seed


class UserMerge:
    """What takes several scripts. `run` is `Deployment.run`; `lasting` is 1 where replicas must follow."""

    def __init__(
        self, run: Callable[[Script, Sequence[Call]], Awaitable[list[Any]]], keep: int, lasting: int
    ) -> None:
        self._run_all = run
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
            kind, target, generation, _log = parked
            done = await self._move(target, from_user_id, generation)
            if target == user_id:
                done = done or await self._known(user_id, from_user_id)
                merged = _sum(merged, done) if merged and done else done or merged
            if kind == _PARKED_NOW:
                break
        return merged or await self._known(user_id, from_user_id)

    async def finish_all(self) -> int:
        """See `Store.finish_merges`."""
        replies = await self._run_all(layout.LIST_DETACHED, [Call((key,), ()) for key in layout.moving_keys()])
        failures = [reply for reply in replies if isinstance(reply, StoreUnavailable)]
        names = [name.decode() for reply in replies if not isinstance(reply, StoreUnavailable) for name in reply]
        for source, target in zip(names[::2], names[1::2], strict=True):
            try:
                parked = await self._park(source, target, resume=True)
                if parked is not None:
                    await self._move(parked[1], source, parked[2])
            except StoreUnavailable as error:  # the others may lie on servers that answer
                failures.append(error)
        if failures:
            raise failures[0]
        return len(names) // 2

    async def delete_user(self, user_id: str) -> int:
        """See `Store.delete_user`."""
        call = Call(_all_keys(user_id), (user_id, self._lasting), lasting=True)
        removed = 0
        for _ in range(_ROUNDS):
            [reply] = await self._run(layout.DELETE_USER, call)
            if isinstance(reply, int):
                return removed + reply
            kind, *rest = reply
            if kind == _TO_FINISH:
                await self._settle_all(user_id, rest)
            else:
                target, generation, emptied = rest
                removed += emptied
                await self._cancel(target.decode(), user_id, generation)
        raise _contended()

    async def _park(self, user_id: str, target: str, *, resume: bool = False) -> tuple[int, str, bytes, bytes] | None:
        """What park.lua answers, once nothing has to be finished before; None if there is nothing to move.

        The log comes along with `resume`, which parks nothing.
        """
        call = Call(_all_keys(user_id), (user_id, target, int(resume), self._lasting), lasting=True)
        for _ in range(_ROUNDS):
            [reply] = await self._run(layout.DETACH, call)
            if reply is None:
                return None
            kind, *rest = reply
            if kind == _UNSETTLED:
                await self._settle_all(user_id, rest)
            elif kind == _EMPTIED:
                await self._cancel(rest[0].decode(), user_id, rest[1])
            else:
                return kind, rest[0].decode(), rest[1], rest[2] if resume else b""
        raise _contended()

    async def _move(self, user_id: str, source: str, generation: bytes) -> Merged | None:
        """Bring a log that was parked to its target; None if it is parked no more: others have finished that."""
        opening = Call((layout.pass_key(user_id),), (new_generation(), _PASS_MILLISECONDS))
        for _ in range(_ROUNDS):
            [valid] = await self._run(layout.GRANT_TOKEN, opening)
            parked = await self._park(source, user_id, resume=True)
            if parked is None or parked[2] != generation:
                return None
            [reply] = await self._run(layout.APPLY, self._merge_call(user_id, source, parked[3], valid))
            if reply is not None:
                await self._settle(user_id, source, generation)
                return _merged(reply)
        raise _contended()

    async def _known(self, user_id: str, source: str) -> Merged | None:
        [reply] = await self._run(layout.APPLY, self._merge_call(user_id, source, b"", b""))
        if reply is None:
            return None
        if reply[-1]:
            await self._settle(user_id, source, reply[-2])
        return _merged(reply)

    def _merge_call(self, user_id: str, source: str, log: bytes, valid: bytes) -> Call:
        keys = (*layout.keys(user_id), layout.deletions_key(user_id), layout.pass_key(user_id))
        return Call(keys, (user_id, self._keep, new_generation(), source, log, self._lasting, valid), lasting=True)

    async def _settle_all(self, user_id: str, merges: Sequence[bytes]) -> None:
        for source, generation in zip(merges[::2], merges[1::2], strict=True):
            await self._settle(user_id, source.decode(), generation)

    async def _settle(self, user_id: str, source: str, generation: bytes) -> None:
        await self._unpark(source, generation)
        keys = (layout.keys(user_id)[0], layout.pass_key(user_id))
        await self._run(layout.FINALIZE, Call(keys, (source, generation, MERGES_KNOWN)))

    async def _cancel(self, user_id: str, source: str, generation: bytes) -> None:
        """Finish the deletion of a source whose parked log has been emptied."""
        keys = (layout.pass_key(user_id), layout.deletions_key(user_id))
        await self._run(layout.REVOKE_TOKEN, Call(keys, (self._lasting,), lasting=True))
        await self._unpark(source, generation)

    async def _unpark(self, source: str, generation: bytes) -> None:
        keys = (layout.moving_key(source), layout.deletions_key(source))
        await self._run(layout.DISCARD, Call(keys, (source, generation, self._lasting), lasting=True))

    async def _run(self, script: Script, call: Call) -> list[Any]:
        """The one reply; raises `StoreUnavailable`."""
        replies = await self._run_all(script, [call])
        if isinstance(replies[0], StoreUnavailable):
            raise replies[0]
        return replies


def new_generation() -> str:
    """A token that no history has had. Nobody has reason to guess one."""
    return f"{_tokens.getrandbits(64):016x}"


def _all_keys(user_id: str) -> tuple[str, ...]:
    return (
        *layout.keys(user_id),
        layout.deletions_key(user_id),
        layout.moving_key(user_id),
        layout.pass_key(user_id),
    )


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

"""Reading, staging and streaming the logs of a merge.

A log is worked on in pieces, each of which holds Redis for a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.store.redis import layout, lua_scripts
from service.store.redis.deployments.deployment import Call, Deployment, run_script
from service.store.redis.lua_scripts import PIECE, Script
from service.store.redis.user_merge.merge_plan import LogEntry, MergePlan, TargetLog, decode_entries

_STAGED_MILLISECONDS = 60_000


class LogTransfer:
    """Steps 3 to 5, 7 and 8 of a merge; see merge_protocol.py.

    `must_write` is 1 if a repeated step must write too; see scripts/lib/replicate.lua.
    """

    def __init__(self, deployment: Deployment, must_write: int) -> None:
        self._deployment = deployment
        self._must_write = must_write

    async def read_detached(self, source: str, generation: bytes) -> list[LogEntry] | None:
        """Read a detached log, and remove its events from the stream.

        None if it is not detached any more.
        """
        _, _, stream = layout.keys(source)
        keys = (
            *(layout.detached_key(source), stream, layout.deletions_key(source)),
            *layout.detached_log_keys(source),
        )
        found: list[LogEntry] = []
        while True:
            reply = await self._run(
                lua_scripts.READ_DETACHED, Call(keys, (source, generation, len(found)), durable=True)
            )
            if reply is None:
                return None
            entries, id_values = reply
            found += decode_entries(entries, id_values)
            if len(entries) < PIECE:
                return found

    async def read_target(self, user_id: str, source: str, generation: bytes) -> TargetLog | None:
        """Read the target's log; None if it changes meanwhile."""
        keys = layout.keys(user_id)[:2]
        first: Sequence[Any] | None = None
        stored: list[bytes] = []
        found: list[LogEntry] = []
        while True:
            reply = await self._run(lua_scripts.READ_TARGET, Call(keys, (source, generation, len(stored))))
            *described, entries, id_values = reply
            if first is not None and described != first:
                return None
            first = described
            stored += entries
            found += decode_entries(entries, id_values)
            if len(entries) < PIECE:
                head, merges, unstreamed, applied, sequence, trimmed = first
                return TargetLog(head, merges, bool(unstreamed), applied, sequence, trimmed, stored, found)

    async def stage(self, keys: tuple[str, str], plan: MergePlan) -> None:
        """Write the merged log under `keys`."""
        for start in range(0, len(plan.entries), PIECE):
            entries = plan.entries[start : start + PIECE]
            fields = [part for field in plan.fields[start : start + PIECE] for part in field]
            await self._run(lua_scripts.STAGE, Call(keys, (_STAGED_MILLISECONDS, len(entries), *entries, *fields)))

    async def stream_moved(self, user_id: str) -> None:
        """Bring the stream of the user's shard up to date."""
        replaced_log = layout.replaced_keys(user_id)[1]
        call = Call((*layout.keys(user_id), layout.deletions_key(user_id), replaced_log), (user_id,), durable=True)
        while await self._run(lua_scripts.STREAM_MOVED, call):
            pass

    async def discard(self, source: str, generation: bytes) -> None:
        """Delete a detached log."""
        stream, deletions = layout.keys(source)[2], layout.deletions_key(source)
        keys = (layout.detached_key(source), stream, deletions, *layout.detached_log_keys(source))
        call = Call(keys, (source, generation, self._must_write), durable=True)
        while await self._run(lua_scripts.DISCARD, call):
            pass

    async def _run(self, script: Script, call: Call) -> Any:  # noqa: ANN401 - the script decides
        [reply] = await run_script(self._deployment, script, [call])
        return reply

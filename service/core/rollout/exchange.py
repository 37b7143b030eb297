"""How the workers on one store exchange their models: all of them, or none.

One of them loads and warms what is to come, so that a bad bundle gets no further, and writes it into the note
(`rollout`) as coming. The others load it too and say so (`fleet`). Once every worker holds it the note says that it
serves, and each switches when it next looks, 0.1 s later. A worker that dies in between leaves either the old serving
or the new one in the note, and whoever starts reads it there.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from service.core.errors import RolloutRefused, RolloutUnfinished, StoreUnavailable
from service.core.ports import ModelVersion, Store
from service.core.rollout.desired_state import ROLLOUT_RECORD, Rollout, Serving
from service.core.rollout.membership import Membership, Report
from service.core.rollout.reconciler import Reconciler


@dataclass(frozen=True, slots=True)
class RolloutTimeouts:
    """Seconds that an exchange of models waits for the other workers to load, and then to switch.

    `watch`: seconds between two looks at what is published. `retry`: seconds after which a worker that could not load
    what it is to serve tries again.
    """

    load: float = 120.0
    switch: float = 5.0
    watch: float = 1.0
    retry: float = 30.0


@dataclass(frozen=True, slots=True)
class Before:
    """What an exchange begins with, all of one look: the note, its text, and which bundles there are."""

    rollout: Rollout
    text: str | None
    published: list[ModelVersion]


class Exchange:
    """An exchange by the worker that `fleet` and `follower` are of; one at a time."""

    def __init__(
        self, store: Store, membership: Membership, reconciler: Reconciler, patience: RolloutTimeouts
    ) -> None:
        self._store = store
        self._membership = membership
        self._reconciler = reconciler
        self._timeouts = patience

    async def run(self, before: Before, serving: Serving, *, chosen: bool = True) -> None:
        """Let every worker serve this; raises what `core.ports.Models.reload` does, and `BundleRefusedError`."""
        decided = Rollout(serving, chosen, before.published[-1].order)
        with self._reconciler.keeping(serving.versions):
            for version in serving.versions:
                await self._reconciler.hold(version)
            await self._decide(before, decided)
            await self._reconciler.look()
        await self._until_all_serve(serving)

    async def _decide(self, before: Before, decided: Rollout) -> None:
        """Bring every worker to hold what is decided, then let the note say that it serves.

        Loading has taken its time: where the note is no longer what this began with, somebody else has decided.
        """
        attempt = secrets.token_hex(4)
        coming = replace(before.rollout, coming=decided.serving, by=self._membership.name, attempt=attempt).encode()
        self._reconciler.bringing = attempt
        try:
            await self._replace(before.text, coming)
            await self._until_all_hold(decided.serving.versions, attempt)
            await self._replace(coming, decided.encode())
        except BaseException:
            with suppress(StoreUnavailable):  # then the next look gives it up
                await asyncio.shield(self._store.compare_and_set(ROLLOUT_RECORD, coming, before.text))
            raise
        finally:
            self._reconciler.bringing = ""

    async def _replace(self, expected: str | None, text: str) -> None:
        if not await self._store.compare_and_set(ROLLOUT_RECORD, expected, text):
            raise RolloutRefused("the live model stays: another worker decided otherwise meanwhile")

    async def _until_all_hold(self, versions: tuple[str, ...], attempt: str) -> None:
        deadline = time.monotonic() + self._timeouts.load
        while True:
            late = []
            for name, report in self._others().items():
                if report.attempt != attempt or not set(versions) <= set(report.holds):
                    late.append(name)
                for version in versions:
                    if report.attempt == attempt and (reason := report.refused.get(version)):
                        raise RolloutRefused(f"the live model stays: worker {name} refuses: {reason}")
            if not late:
                return
            if time.monotonic() > deadline:
                raise RolloutRefused(f"the live model stays: not loaded in time by {', '.join(late)}")
            await self._reconciler.next_look()

    async def _until_all_serve(self, serving: Serving) -> None:
        deadline = time.monotonic() + self._timeouts.switch
        while late := [name for name, report in self._others().items() if report.serves != serving.label]:
            if time.monotonic() > deadline:
                raise RolloutUnfinished(f"decided, but these workers have not switched yet: {', '.join(late)}")
            await self._reconciler.next_look()

    def _others(self) -> dict[str, Report]:
        return {name: report for name, report in self._membership.alive().items() if name != self._membership.name}

"""FastAPI dependencies: the running services and the recommender."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from service.api import request_costs
from service.api.caller import BODY_BYTES, CALLER, Caller
from service.core.attribution.counters_reader import CountersReader
from service.core.errors import NotReady
from service.core.jobs.catalogue_services import CatalogueServices
from service.core.ports import Models, Store
from service.core.recommending.recommender import Recommender

_PING_TIMEOUT_SECONDS = 1.0
_PING_VALID_SECONDS = 0.1


class Readiness:
    """Check of the store, one at a time for all requests together.

    `/readyz` needs no key, so its cost must not grow with its requests.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ping: asyncio.Task[bool] | None = None
        self._begun_at = 0.0

    async def check(self) -> bool:
        """Return whether the store takes events.

        Raises `TimeoutError` or the store's error unless it answers.

        The outcome may be that of a check up to 0.1 s ago.
        """
        now = asyncio.get_running_loop().time()
        if self._ping is None or (self._ping.done() and now - self._begun_at > _PING_VALID_SECONDS):
            self._ping, self._begun_at = asyncio.create_task(self._run()), now
            self._ping.add_done_callback(_retrieve)
        return await asyncio.shield(self._ping)  # a client that disconnects does not cancel it for others

    async def _run(self) -> bool:
        async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
            await self._store.ping()
            return (await self._store.memory_used() or 0.0) < 1.0


def _retrieve(ping: asyncio.Task[bool]) -> None:
    if not ping.cancelled():
        ping.exception()  # nobody may be waiting any more


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the application opens at start.

    Routes about a user or an item's neighbours use `recommender`, routes about the catalogue `catalogue`. `store`
    serves the backfills, `counters` what recommendations earned.
    """

    recommender: Recommender
    models: Models
    store: Store
    catalogue: CatalogueServices
    readiness: Readiness = field(init=False)
    counters: CountersReader = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "readiness", Readiness(self.store))
        object.__setattr__(self, "counters", CountersReader(self.store))


async def _services(request: Request) -> Services:
    services: Services | None = request.app.state.services
    if services is None:
        raise NotReady("the service is starting or stopping; try again shortly")
    return services


async def _recommender(request: Request) -> Recommender:
    return (await _services(request)).recommender


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope[CALLER]
    return caller


async def _body_bytes(request: Request) -> int:
    size: int = request.scope.get(BODY_BYTES, 0)
    return size


async def _charge_body(request: Request) -> None:
    caller: Caller = request.scope[CALLER]
    caller.admit(request_costs.of_stored(await _body_bytes(request)))


CHARGED_BODY = Depends(_charge_body)  # for routes that store what their body holds
BodyBytesDep = Annotated[int, Depends(_body_bytes)]
CallerDep = Annotated[Caller, Depends(_caller)]
ServicesDep = Annotated[Services, Depends(_services)]
RecommenderDep = Annotated[Recommender, Depends(_recommender)]

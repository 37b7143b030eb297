"""FastAPI dependencies: the running services and the recommender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.caller import CALLER, Caller
from service.core.errors import NotReady
from service.core.jobs.catalogue_services import CatalogueServices
from service.core.ports import Models, Store
from service.core.recommending.recommender import Recommender


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the application opens at start.

    Routes about a user or an item's neighbours use `recommender`. `store` serves the readiness check and the
    backfills.
    """

    recommender: Recommender
    models: Models
    store: Store
    catalogue: CatalogueServices


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


CallerDep = Annotated[Caller, Depends(_caller)]
ServicesDep = Annotated[Services, Depends(_services)]
RecommenderDep = Annotated[Recommender, Depends(_recommender)]

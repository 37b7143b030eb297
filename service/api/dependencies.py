"""What routes are given: the use cases of the running service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.errors import NotReady
from service.core.ports import Models, Store
from service.core.recommending.recommender import Recommender


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan has opened. `store` is for what is no user's: readiness, and how far rebuilds are."""

    recommender: Recommender
    models: Models
    store: Store


async def _services(request: Request) -> Services:
    services: Services | None = request.app.state.services
    if services is None:
        raise NotReady("the service is starting or stopping; try again shortly")
    return services


async def _recommender(request: Request) -> Recommender:
    return (await _services(request)).recommender


Running = Annotated[Services, Depends(_services)]
UseCases = Annotated[Recommender, Depends(_recommender)]

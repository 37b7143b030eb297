"""What routes are given: the use cases of the running service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.errors import NotReady
from service.core.recommender import Recommender
from service.core.store_port import Store


@dataclass(frozen=True, slots=True)
class Services:
    """What the lifespan has opened. `store` is for the readiness check alone."""

    recommender: Recommender
    store: Store


async def _recommender(request: Request) -> Recommender:
    services: Services | None = request.app.state.services
    if services is None:
        raise NotReady("the service is starting or stopping; try again shortly")
    return services.recommender


Serving = Annotated[Recommender, Depends(_recommender)]

"""Assembles the HTTP application.

A request passes, from outside to inside:

    Edge        request id, metrics, log line, the answer to faults
    CORS        only where origins are allowed: which pages of other sites may call
    ApiKeys     who may call what, and how often
    FastPath     an ordinary event or read is answered here; what it does not know goes on
    BodyLimit   at most 4 MiB
    FastAPI     its own layers and routing
    a route     validation (schemas, fields), one use case of the Recommender, the answer
    errors      whatever was raised becomes {"error": …}
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from service.api.dependencies import Services
from service.api.errors import install_error_handlers
from service.api.middleware.auth import SECURITY_SCHEMES, ApiKeys
from service.api.middleware.body_limit import BodyLimit
from service.api.middleware.fast_path import FastPath
from service.api.middleware.telemetry import Telemetry
from service.api.routes import backfill_progress, events, health, items, models, recommendations, users
from service.api.routes.console import console_router
from service.api.schemas.requests import ErrorOut
from service.api.scopes import RouteScopes, security_of
from service.api_keys import ApiKey
from service.observability.metrics import PrometheusMeter

OpenServices = Callable[[], AbstractAsyncContextManager[Services]]

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "The request was refused; the message says what to do."},
    "422": {
        "model": ErrorOut,
        "description": "The request does not follow the contract; `details` names the fields.",
    },
    "5XX": {"model": ErrorOut, "description": "The service failed, or is not available now."},
}


class Api(FastAPI):
    """The application; `layers` stand around all that the framework itself does with a request."""

    layers: Sequence[Middleware] = ()

    def build_middleware_stack(self) -> ASGIApp:
        """The framework's, within ours: its layers cost an ordinary event as much as ours, and do nothing for it."""
        app = super().build_middleware_stack()
        if isinstance(app, ServerErrorMiddleware):  # Edge answers faults
            app = app.app
        for cls, args, kwargs in reversed(self.layers):
            app = cls(app, *args, **kwargs)
        return app

    def openapi(self) -> dict[str, Any]:
        """The schema, with the keys that `ApiKeys` asks for outside of the framework's sight."""
        if self.openapi_schema is None:
            schema = super().openapi()
            schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["security"] = security_of(operation)
        assert self.openapi_schema is not None  # noqa: S101 - super() has set it
        return self.openapi_schema


_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["Authorization", "X-API-Key", "Content-Type", "X-Request-ID"],
    "expose_headers": ["X-Request-ID", "Retry-After"],
}

_ROUTERS = tuple(
    module.router for module in (events, recommendations, users, items, models, backfill_progress, health)
)


def build_api(
    open_services: OpenServices,
    meter: PrometheusMeter,
    console: Path,
    *,
    keys: Sequence[ApiKey] = (),
    rate: int | None = None,
    origins: Sequence[str] = (),
) -> Api:
    """The application; `open_services` is entered at start and left at the end of the process.

    `rate`: requests a second that each key may make; `origins`: whose pages a browser lets call.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services() as services:
            app.state.services = services
            try:
                yield
            finally:
                app.state.services = None

    scopes = RouteScopes(route for router in _ROUTERS for route in router.routes)
    app = Api(
        title="recblr-service",
        description="What next? Sequential recommendations that reflect the event of a moment ago.",
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        # /metrics is ours. Asking before each request whether somebody set up OpenTelemetry took 3 % of it.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        swagger_ui_oauth2_redirect_url=None,
        responses=_ERRORS,
    )
    app.layers = [
        Middleware(Telemetry, meter=meter),
        *([Middleware(CORSMiddleware, allow_origins=origins, **_CORS)] if origins else []),
        Middleware(ApiKeys, keys=keys, scopes=scopes, rate=rate, meter=meter),
        Middleware(FastPath),
        Middleware(BodyLimit),
    ]
    app.state.services = None
    app.state.meter = meter
    install_error_handlers(app)
    for router in _ROUTERS:
        app.include_router(router)
    app.include_router(console_router(console))
    return app

"""Assembly of the HTTP application.

A request passes, from outside to inside:

    Telemetry      the path (`request_path`), request id, CORS headers, metrics, log line, unexpected exceptions
    Preflight      only if origins are configured: answers browsers that ask what other sites' pages may send
    ApiKeys        host names (only without keys), API keys and scopes, requests per second
    FastPath       answers an ordinary event or read; every other request continues below
    PathProblems   only a prefix: to the console; an id missing in the query
    HeadAsGet      HEAD is GET without the body
    SingleParameters  no query parameter twice
    BodyLimit      at most 4 MiB, also after gzip, and a bounded number of JSON values
    FastAPI        its own layers and the router
    a route        validation (schemas), one use case of the Recommender, the response (answers)
    ErrorHandlers  every exception becomes {"error": …}
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp

from service.api.connection.refusals import CORS_STATE
from service.api.dependencies import Services
from service.api.exception_handlers import ErrorHandlers
from service.api.middleware.auth import SECURITY_SCHEMES, ApiKeys
from service.api.middleware.body_limit import BodyLimit
from service.api.middleware.cors import CorsPolicy, Preflight
from service.api.middleware.fast_path import FastPath
from service.api.middleware.method_and_query import HeadAsGet, SingleParameters
from service.api.middleware.request_path import PathProblems, RequestPath, add_query_forms
from service.api.middleware.telemetry import Telemetry
from service.api.route_scopes import RouteScopes, security_requirements
from service.api.routes import backfill_progress, events, experiments, health, items, models, recommendations, users
from service.api.routes.api_docs import docs_router
from service.api.routes.catalogue import attributes, catalogue_items, filters, item_batches
from service.api.routes.console import console_router
from service.api.schemas.responses import ErrorOut
from service.api.user_tokens import UserTokens
from service.key_file import KeyRing
from service.observability.access_log import AccessLog
from service.observability.metrics import PrometheusMeter

OpenServices = Callable[[], AbstractAsyncContextManager[Services]]

_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorOut, "description": "The request was refused. `message` says what to do."},
    "422": {
        "model": ErrorOut,
        "description": "The request is not valid. `details` lists the fields.",
    },
    "5XX": {"model": ErrorOut, "description": "The service failed, or is temporarily unavailable."},
}

_ROUTERS = tuple(
    module.router
    for module in (
        *(events, recommendations, users, items, catalogue_items, item_batches, attributes, filters),
        *(models, backfill_progress, experiments, health),
    )
)


class Api(FastAPI):
    """FastAPI application with middleware outside the framework's own layers (decision 0084)."""

    outer_middleware: Sequence[Middleware] = ()

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap the framework's layers, so that the fast path skips them."""
        app = super().build_middleware_stack()
        if isinstance(app, ServerErrorMiddleware):  # Telemetry answers unexpected exceptions
            app = app.app
        for cls, args, kwargs in reversed(self.outer_middleware):
            app = cls(app, *args, **kwargs)
        return app

    def openapi(self) -> dict[str, Any]:
        """Add the API keys to the schema.

        The framework does not know that `ApiKeys` checks them.
        """
        if self.openapi_schema is None:
            schema = super().openapi()
            schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["security"] = security_requirements(operation)
            add_query_forms(schema["paths"])
        assert self.openapi_schema is not None  # noqa: S101 - super() has set it
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(
    open_services: OpenServices, access_log: AccessLog | None, cors: CorsPolicy, app: FastAPI
) -> AsyncIterator[dict[str, Any]]:
    """Open the services; yield what the protocol class must know."""
    async with open_services() as services:
        app.state.services = services
        try:
            yield {CORS_STATE: cors.header_lines()}
        finally:
            app.state.services = None
            if access_log is not None:
                access_log.flush()


def _declared_scopes() -> RouteScopes:
    return RouteScopes(route for router in _ROUTERS for route in router.routes)


def _declared_paths() -> list[str]:
    return [route.path for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def _operation_id(route: APIRoute) -> str:
    """Return the name of the route's function.

    Generated clients name their functions after it.
    """
    return route.name


def _framework_app(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]], root_path: str) -> Api:
    return Api(
        title="recblr-service",
        description="Sequential recommendations that reflect each user's latest event.",
        lifespan=lifespan,
        redirect_slashes=False,
        servers=[{"url": root_path}] if root_path else None,
        generate_unique_id_function=_operation_id,
        openapi_url=None,  # routes.api_docs serves the document and the page
        # Off: looking for an OpenTelemetry setup took 3 % of each request. /metrics is our own route.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        responses=_ERROR_RESPONSES,
    )


def build_api(
    open_services: OpenServices,
    meter: PrometheusMeter,
    pages: Path,
    *,
    keys: KeyRing,
    tokens: UserTokens,
    rate_limit: int | None = None,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = (),
    root_path: str = "",
    access_log: AccessLog | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Api:
    """Build the application.

    Args:
        open_services: Entered when the process starts, left when it ends.
        meter: Metrics of this process.
        pages: Folder of the console and of the page of the API documentation.
        keys: API keys that may call. Without configured keys only administration is closed.
        tokens: Verifies the user tokens of browsers.
        rate_limit: Requests per second for each key; None: no limit.
        origins: Origins whose web pages may call from a browser.
        hosts: Names of this server; checked without keys.
        root_path: Prefix of all paths behind a proxy, such as /recommender. Paths without it are served too.
        access_log: Gets a line for each request; None: no access log.
        clock: Monotonic seconds, for the throttling of repeated log messages.
    """

    scopes = _declared_scopes()
    handlers = ErrorHandlers(clock, scopes.methods)
    cors = CorsPolicy(origins, scopes.all_methods)
    app = _framework_app(partial(_lifespan, open_services, access_log, cors), root_path)
    app.outer_middleware = [
        Middleware(Telemetry, RequestPath(root_path, _declared_paths()), cors, meter.http, access_log),
        *([Middleware(Preflight, cors)] if cors else []),
        Middleware(ApiKeys, keys, tokens, scopes, hosts, rate_limit, meter.http),
        Middleware(FastPath, handlers=handlers),
        Middleware(PathProblems, root_path),
        Middleware(HeadAsGet),
        Middleware(SingleParameters),
        Middleware(BodyLimit),
    ]
    app.state.services = None
    app.state.meter = meter
    handlers.install(app)
    for router in (*_ROUTERS, docs_router(pages, app.openapi), console_router(pages / "index.html")):
        app.include_router(router)
    return app

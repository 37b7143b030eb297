"""The one table from error class to HTTP status, and the one shape in which every error leaves the service."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from service.api.schemas.validation_messages import problems_of
from service.core import errors
from service.core.log_throttle import ThrottledLogger
from service.observability.logging import route_of

_log = logging.getLogger(__name__)
_outages = ThrottledLogger(_log)


class NotReady(errors.ServiceError):
    """The model is not warm yet, the process is stopping, or the event log does not answer."""

    code = "not_ready"


STATUS: Mapping[type[errors.ServiceError], int] = {
    errors.ServiceError: 500,
    errors.InvalidRequest: 422,
    errors.PayloadTooLarge: 413,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.UserNotFound: 404,
    errors.EventNotFound: 404,
    errors.ItemNotFound: 404,
    errors.ModelVersionNotFound: 404,
    errors.EventConflict: 409,
    errors.RolloutRefused: 409,
    errors.RolloutUnfinished: 503,
    errors.Overloaded: 429,
    errors.RateLimited: 429,
    errors.DeadlineExceeded: 503,
    errors.StoreUnavailable: 503,
    NotReady: 503,
}

_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}

# What the framework itself refuses, before any of our code runs.
_FRAMEWORK: Mapping[int, tuple[str, str]] = {
    400: (errors.InvalidRequest.code, "the body could not be read; send JSON in UTF-8"),
    404: (errors.NotFound.code, "there is nothing at this path; /docs lists every path"),
    405: (
        "method_not_allowed",
        "this path does not take this method; the Allow header and /docs list those it takes",
    ),
    413: (errors.PayloadTooLarge.code, "the body is larger than 4 MiB; send less in one request"),
}


def error_body(code: str, message: str, details: list[dict[str, object]] | None = None) -> dict[str, Any]:
    """What stands under "error" in every answer that is one."""
    body: dict[str, Any] = {"code": code, "message": message}
    if details:
        body["details"] = details
    return body


def error_response(error: errors.ServiceError) -> Response:
    """The answer to a request that failed with `error`."""
    status = STATUS[type(error)]
    content = {"error": error_body(error.code, error.message, error.details)}
    return JSONResponse(content, status, headers=_HEADERS.get(status))


def internal_error() -> errors.ServiceError:
    """What a client may know of a fault in the service: nothing of its inside."""
    return errors.ServiceError("the service failed on this request; report it with the X-Request-ID of this answer")


def install_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error in the one shape."""
    app.add_exception_handler(errors.ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_framework_error)


def logged_error_response(error: errors.ServiceError, scope: Scope) -> Response:
    """The answer to a request that failed with `error`, which the log hears of where an operator can do something."""
    status = STATUS[type(error)]
    if status == 500:
        _log.error("request failed", exc_info=error, extra={"code": error.code, "route": route_of(scope)})
    elif status in (429, 503):
        _outages.warn(error.code, "request refused", route=route_of(scope), reason=error.for_log)
    return error_response(error)


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)  # noqa: S101 - what the handler is registered for
    return logged_error_response(error, request.scope)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    details = problems_of(error.errors(), request.headers.get("content-type", ""))
    return error_response(errors.InvalidRequest("the request does not follow the contract", details=details))


async def _on_framework_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    code, message = _FRAMEWORK.get(error.status_code, ("http_error", "the request was refused"))
    return JSONResponse({"error": error_body(code, message)}, error.status_code, headers=error.headers)

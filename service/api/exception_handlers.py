"""Exception handlers: every exception of a request becomes an error response.

Errors that an operator can act on are logged too: faults with their traceback, and overload or outages at most once
a second for each error code.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from service.api.error_responses import STATUS, error_body, error_response
from service.api.schemas.validation_messages import validation_details
from service.core.errors import InvalidRequest, NotFound, PayloadTooLarge, ServiceError
from service.core.log_throttle import ThrottledLogger
from service.observability.metrics import route_of

_log = logging.getLogger(__name__)

# Code and message for what FastAPI refuses before any route runs.
_FRAMEWORK_ERRORS: Mapping[int, tuple[str, str]] = {
    400: (InvalidRequest.code, "the body could not be read; send JSON in UTF-8"),
    404: (NotFound.code, "there is nothing at this path; /docs lists every path"),
    405: (
        "method_not_allowed",
        "this path does not support this method; see the Allow header and /docs",
    ),
    413: (PayloadTooLarge.code, "the body is larger than 4 MiB; send less in one request"),
}


class ErrorHandlers:
    """Error responses and log messages of the routes and the fast path."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        methods_of: Callable[[str], Iterable[str]] = lambda path: (),
    ) -> None:
        self._methods_of = methods_of
        self._throttled_log = ThrottledLogger(_log, clock)

    def install(self, app: FastAPI) -> None:
        """Register the handlers of every exception class that `app` can raise."""
        app.add_exception_handler(ServiceError, self._on_service_error)
        app.add_exception_handler(RequestValidationError, self._on_validation_error)
        app.add_exception_handler(HTTPException, self._on_framework_error)

    def respond(self, error: ServiceError, scope: Scope) -> Response:
        """Build the response for `error`; log what an operator can act on."""
        status = STATUS[type(error)]
        if status == 500:
            _log.error("request failed", exc_info=error, extra={"code": error.code, "route": route_of(scope)})
        elif status in (429, 503):
            self._throttled_log.warn(error.code, "request refused", route=route_of(scope), reason=error.for_log)
        return error_response(error)

    async def _on_service_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ServiceError)  # noqa: S101 - the class it is registered for
        return self.respond(error, request.scope)

    async def _on_validation_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - the class it is registered for
        details = validation_details(error.errors(), request.headers.get("content-type", ""))
        return error_response(InvalidRequest("the request does not follow the contract", details=details))

    async def _on_framework_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - the class it is registered for
        code, message = _FRAMEWORK_ERRORS.get(error.status_code, ("http_error", "the request was refused"))
        headers = error.headers
        if error.status_code == 405 and (methods := self._methods_of(request.scope["path"])):
            headers = {"Allow": ", ".join(methods)}  # the framework names those of one route only
        return JSONResponse({"error": error_body(code, message)}, error.status_code, headers=headers)

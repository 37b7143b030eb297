"""Routes for the OpenAPI document, and for a page that shows it.

Everything is served from this process: Swagger UI comes with the package fastapi-offline, at the version that
`constraints.txt` pins. The page has no inline script, and its policy allows nothing from elsewhere. All its links are
relative, so that the page works behind any prefix.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {"Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}  # no-cache: ask whether it has changed
_SWAGGER_UI = ("fastapi_offline", "static")


def docs_url(host: str, port: int) -> str:
    """Return the URL of the API docs, seen from this machine."""
    seen = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    return f"http://{f'[{seen}]' if ':' in seen else seen}:{port}/docs"


class _Document:
    """The OpenAPI document, encoded at the first request.

    Building it takes some 0.1 s, so a thread does that while other requests are answered.
    """

    def __init__(self, openapi: Callable[[], dict[str, Any]]) -> None:
        self._openapi = openapi
        self._lock = asyncio.Lock()
        self._encoded: tuple[bytes, str] | None = None

    async def read(self) -> tuple[bytes, str]:
        """Return the document and its ETag."""
        async with self._lock:
            if self._encoded is None:
                self._encoded = await asyncio.to_thread(self._encode)
            return self._encoded

    def _encode(self) -> tuple[bytes, str]:
        body = to_json(self._openapi())
        return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def docs_router(folder: Path, openapi: Callable[[], dict[str, Any]]) -> APIRouter:
    """Build a router for `/docs`, its files, and `/openapi.json`.

    Args:
        folder: Folder of `api_docs.html` and `api_docs.js`.
        openapi: Returns the OpenAPI document; called once.
    """
    router = APIRouter(include_in_schema=False)
    own, vendored = StaticFiles(directory=folder), StaticFiles(packages=[_SWAGGER_UI])
    files: Mapping[str, StaticFiles] = {
        "api_docs.js": own,
        "swagger-ui.css": vendored,
        "swagger-ui-bundle.js": vendored,
    }

    document = _Document(openapi)

    @router.get("/openapi.json")
    async def openapi_document(request: Request) -> Response:
        body, etag = await document.read()
        headers = {**_HEADERS, "ETag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @router.get("/docs")
    async def docs_page(request: Request) -> Response:
        return await _file(own, "api_docs.html", request)

    @router.get("/docs/{name}")
    async def docs_file(name: str, request: Request) -> Response:
        if name not in files:
            raise HTTPException(404)
        return await _file(files[name], name, request)

    return router


async def _file(files: StaticFiles, name: str, request: Request) -> Response:
    response = await files.get_response(name, request.scope)
    response.headers.update({**_HEADERS, "Content-Security-Policy": SECURITY_POLICY})
    return response

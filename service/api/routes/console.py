"""Route for the console: one self-contained page that calls this API."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Response

_INLINE = re.compile(rb"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)


def console_router(file: Path) -> APIRouter:
    """Build a router that serves `file` at `/`.

    If the file does not exist, the router has no route.
    """
    router = APIRouter(include_in_schema=False)
    if not file.is_file():
        return router
    page = file.read_bytes()
    headers = {
        "Content-Security-Policy": _security_policy(page),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
    }

    @router.api_route("/", methods=["GET", "HEAD"])
    async def console() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    return router


def _security_policy(page: bytes) -> str:
    """Build the Content-Security-Policy of `page`.

    It allows calls to this origin and, by hash, the inline scripts and styles of the page. Injected code cannot run.
    """
    hashes: dict[bytes, list[str]] = {b"script": [], b"style": []}
    for element, content in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode("ascii")
        hashes[element.lower()].append(f"'sha256-{digest}'")
    scripts, styles = hashes[b"script"] or ["'none'"], hashes[b"style"] or ["'none'"]
    return "; ".join(
        (
            "default-src 'none'",
            "connect-src 'self'",
            "img-src 'self' data:",
            f"script-src {' '.join(scripts)}",
            f"style-src {' '.join(styles)}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )

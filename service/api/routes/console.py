"""Route for the console: one self-contained page that calls this API.

The page's styles and scripts are files beside it. They are put into the page when the service starts, so that the
policy can name them by hash, and one request loads everything.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Response

_REFERENCE = re.compile(rb'<link rel="stylesheet" href="([a-z_]+\.css)">|<script src="([a-z_]+\.js)"></script>')
_INLINE = re.compile(rb"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)


def console_router(file: Path) -> APIRouter:
    """Build a router that serves `file` at `/`.

    If the file does not exist, the router has no route.
    """
    router = APIRouter(include_in_schema=False)
    if not file.is_file():
        return router
    page = assembled(file)
    headers = {
        "Content-Security-Policy": _security_policy(page),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
    }

    @router.api_route("/", methods=["GET", "HEAD"])
    async def console() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    return router


def assembled(file: Path) -> bytes:
    """Return the page with its styles and scripts."""

    def content(reference: re.Match[bytes]) -> bytes:
        style, script = reference.groups()
        name, element = (style, b"style") if style else (script, b"script")
        return b"<%b>\n%b</%b>" % (element, (file.parent / name.decode()).read_bytes(), element)

    return _REFERENCE.sub(content, file.read_bytes())


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

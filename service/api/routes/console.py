"""The console: one self-contained page that calls this API, under a policy that lets it do nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from fastapi import APIRouter, Response

_INLINE = re.compile(rb"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)


def console_router(file: Path) -> APIRouter:
    """GET (and HEAD) / answers with `file`, read once; without the file there is no such route."""
    router = APIRouter(include_in_schema=False)
    if not file.is_file():
        return router
    page = file.read_bytes()
    headers = {
        "Content-Security-Policy": _policy(page),
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
    }

    @router.api_route("/", methods=["GET", "HEAD"])
    async def console() -> Response:
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    return router


def _policy(page: bytes) -> str:
    """Calls to this origin, and the page's own inline scripts and styles by hash: nothing injected can run."""
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

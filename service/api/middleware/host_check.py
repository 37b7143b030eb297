"""Check of the Host header on a server without API keys.

A web page can let its own domain resolve to 127.0.0.1 (DNS rebinding). The browser then takes this server for a part
of that page's site, and sends the page's requests here, with the page's domain as Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import error_response
from service.core.errors import Forbidden

# An address is not a name, so nobody can let it resolve to another one.
_ADDRESS = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])")
_PORT = re.compile(r":[0-9]*$")


class HostCheck:
    """Middleware that refuses host names that are not this server's.

    Args:
        app: The application behind this middleware.
        hosts: Names of this server, besides localhost and any address.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(("localhost", *(host.lower() for host in hosts)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and not self._is_allowed(scope):
            error = Forbidden(
                "the Host header names another server; call localhost or an address, name the host in "
                "RECBLR_ALLOWED_HOSTS, or set RECBLR_API_KEYS"
            )
            await error_response(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"host":
                host = _PORT.sub("", value.decode("latin-1").lower())
                if host.rstrip(".") not in self._hosts and not _ADDRESS.fullmatch(host):
                    return False
        return True

"""Check of the Host header on a server without API keys.

A web page can let its own domain resolve to 127.0.0.1 (DNS rebinding). The browser then takes this server for a part
of that page's site, and sends the page's requests here, with the page's domain as Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from service.core.errors import Forbidden

# An address is not a name, so nobody can let it resolve to another one.
_ADDRESS = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])")
_PORT = re.compile(r":[0-9]*$")


class HostCheck:
    """Refuses host names that are not this server's.

    Args:
        hosts: Names of this server, besides localhost and any address.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(("localhost", *(host.lower() for host in hosts)))
        self._accepts = lru_cache(maxsize=256)(self._is_own)  # clients repeat a few names

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `Forbidden` if a Host header names another server."""
        for name, value in headers:
            if name == b"host" and not self._accepts(value):
                raise Forbidden(
                    "the Host header names another server; call localhost or an address, name the host in "
                    "RECBLR_ALLOWED_HOSTS, or set RECBLR_API_KEYS"
                )

    def _is_own(self, value: bytes) -> bool:
        host = _PORT.sub("", value.decode("latin-1").lower())
        return host.rstrip(".") in self._hosts or _ADDRESS.fullmatch(host) is not None

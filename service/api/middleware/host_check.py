"""Check of the Host header on a server without API keys.

A web page can let its own domain resolve to 127.0.0.1 (DNS rebinding). The browser then takes this server for a part
of that page's site, and sends the page's requests here, with the page's domain as Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

# An address is not a name, so nobody can let it resolve to another one.
_ADDRESS = re.compile(r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])")
_PORT = re.compile(r":[0-9]*$")


class OwnHosts:
    """Names of this server.

    Args:
        hosts: Names besides localhost and any address.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(("localhost", *(host.lower() for host in hosts)))
        self.include = lru_cache(maxsize=256)(self._include)  # clients repeat a few names

    def _include(self, value: bytes) -> bool:
        """Return whether the value of a Host header names this server."""
        host = _PORT.sub("", value.decode("latin-1").lower())
        return host.rstrip(".") in self._hosts or _ADDRESS.fullmatch(host) is not None

"""Redis URLs: kind of deployment, addresses, credentials and TLS options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from service.store.errors import StoreRefusedError

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

_DEFAULT_PORT, _DEFAULT_SENTINEL_PORT = 6379, 26379
_FORMS = {
    "": "redis://[user:password@]host[:port][/db]",
    "sentinel": "redis+sentinel://[user:password@]host[:port][,host[:port]…]/name-of-the-primary[/db]",
    "cluster": "redis+cluster://[user:password@]host[:port][,host[:port]…]",
}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed Redis URL.

    kind       "" for one server, "sentinel" or "cluster".
    addresses  the server, the sentinels, or some nodes of the cluster.
    tls        whether connections use TLS.
    options    arguments for the client library's connections: user, password, database and TLS files.
    service    the sentinels' name for the primary, otherwise "".
    """

    kind: str
    addresses: tuple[Address, ...]
    tls: bool
    options: Mapping[str, Any]
    service: str = ""

    @property
    def name(self) -> str:
        """The URL without credentials and options."""
        scheme = ("rediss" if self.tls else "redis") + (f"+{self.kind}" if self.kind else "")
        path = "" if self.kind == "cluster" else f"/{self.options['db']}"
        return f"{scheme}://{','.join(map(str, self.addresses))}{self.service and f'/{self.service}'}{path}"


def parse_url(url: str) -> Target:
    """Parse a URL with one of `SCHEMES`; raises `StoreRefusedError`."""
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.partition("+")
    tls = plain == "rediss"
    try:
        # urlsplit's treatment of a URL depends on its scheme, so parse every one as redis://.
        parts = urlsplit(f"redis://{rest}")
        credentials, _, hosts = parts.netloc.rpartition("@")
        addresses = tuple(_address(host, kind) for host in hosts.split(","))
        service, database = _path(parts.path, kind)
        if kind == "" and len(addresses) > 1:
            raise ValueError("a single server has one address")
    except ValueError:
        raise StoreRefusedError(f"the Redis URL is malformed; write {_FORMS[kind]}.") from None
    user, _, password = credentials.partition(":")
    options: dict[str, Any] = {"db": database, **_tls_options(parts, tls)}
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    return Target(kind, addresses, tls, options, service)


def _address(text: str, kind: str) -> Address:
    parts = urlsplit(f"//{text}")
    default = _DEFAULT_SENTINEL_PORT if kind == "sentinel" else _DEFAULT_PORT
    return Address(parts.hostname or "localhost", parts.port or default)


def _path(path: str, kind: str) -> tuple[str, int]:
    """Return the sentinels' name for the primary, and the database number."""
    segments = [unquote(segment) for segment in path.split("/") if segment]
    if kind == "sentinel" and not segments:
        raise ValueError("no service")
    service = segments.pop(0) if kind == "sentinel" else ""
    database = int(segments.pop(0)) if segments else 0
    if segments or database < 0 or (kind == "cluster" and database):
        raise ValueError("not a database number")
    return service, database


def _tls_options(parts: SplitResult, tls: bool) -> dict[str, object]:
    options: dict[str, object] = {}
    for name, value in parse_qsl(parts.query):
        if not tls or name not in (*_TLS_FILES, "ssl_check_hostname"):
            # A password that contains "?" would be found here, so the message repeats no part of the URL.
            raise StoreRefusedError(
                "the Redis URL has an option that is not known; after a ? it takes "
                f"{', '.join(_TLS_FILES)} and ssl_check_hostname, and only with rediss."
            )
        options[name] = value.lower() in ("1", "true", "yes") if name == "ssl_check_hostname" else value
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise StoreRefusedError("the Redis URL has an ssl_keyfile without its certificate; add ssl_certfile.")
    return options

"""Redis URLs of an event log, as the service's RECBLR_STATE_URL has them.

`service/store/redis/url.py` is the service's parser; a test holds both against the same URLs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ingest.errors import DataError

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

_FORMS = {
    "": "redis://[user:password@]host[:port][/db]",
    "sentinel": "redis+sentinel://[user:password@]host[:port][,host[:port]…]/name-of-the-primary[/db]",
    "cluster": "redis+cluster://[user:password@]host[:port][,host[:port]…]",
}
_DEFAULT_PORTS = {"": 6379, "sentinel": 26379, "cluster": 6379}
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_HOST_NAME_CHECK = "ssl_check_hostname"


class Address(NamedTuple):
    """Host and port of a server."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class LogUrl:
    """A parsed Redis URL.

    Attributes:
        kind: "" for one server, "sentinel" or "cluster".
        addresses: the server, the sentinels, or some nodes of the cluster.
        tls: whether connections use TLS.
        options: arguments for the client library's connections: user, password, database and TLS files.
        service: the sentinels' name for the primary, otherwise "".
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
        hosts = ",".join(f"{host}:{port}" for host, port in self.addresses)
        path = "" if self.kind == "cluster" else f"/{self.options['db']}"
        return f"{scheme}://{hosts}{f'/{self.service}' if self.service else ''}{path}"


def parse_url(url: str) -> LogUrl:
    """Parse a URL with one of `SCHEMES`.

    Raises:
        DataError: the URL is malformed. The message repeats no part of it, because it may hold a password.
    """
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.partition("+")
    tls = plain == "rediss"
    try:
        parts = urlsplit(f"redis://{rest}")
        credentials, _, hosts = parts.netloc.rpartition("@")
        addresses = tuple(_parse_address(host, _DEFAULT_PORTS[kind]) for host in hosts.split(","))
        service, database = _parse_path(parts.path, kind)
        if kind == "" and len(addresses) > 1:
            raise ValueError("a single server has one address")
    except ValueError:
        raise DataError(f"the Redis URL is malformed; write {_FORMS[kind]}") from None
    user, _, password = credentials.partition(":")
    options: dict[str, Any] = {"db": database, **_parse_tls_options(parts, tls)}
    options |= {"username": unquote(user)} if user else {}
    options |= {"password": unquote(password)} if password else {}
    return LogUrl(kind, addresses, tls, options, service)


def _parse_address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"//{text}")
    return Address(parts.hostname or "localhost", parts.port or default_port)


def _parse_path(path: str, kind: str) -> tuple[str, int]:
    """Return the sentinels' name for the primary, and the database."""
    segments = [unquote(segment) for segment in path.split("/") if segment]
    service = segments.pop(0) if kind == "sentinel" and segments else ""
    database = int(segments.pop(0)) if segments else 0
    if segments or database < 0 or (kind == "cluster" and database) or (kind == "sentinel" and not service):
        raise ValueError("not a path of this kind of URL")
    return service, database


def _parse_tls_options(parts: SplitResult, tls: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(parts.query):
        if not tls or name not in (*_TLS_FILES, _HOST_NAME_CHECK):
            raise DataError(
                "the Redis URL has an option that is not known; after a ? it takes "
                f"{', '.join(_TLS_FILES)} and {_HOST_NAME_CHECK}, and only with rediss"
            )
        options[name] = value.lower() in ("1", "true", "yes") if name == _HOST_NAME_CHECK else value
    return options

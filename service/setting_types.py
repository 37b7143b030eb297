"""Types of settings that are parsed from text: URLs, keys, lists."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints
from pydantic_settings import NoDecode

from model.bundle.signature import KEY_PATTERN
from service.api_keys import ApiKey, parse_key

_STATE_SCHEMES = (
    "sqlite:///",
    *(f"redis{tls}{kind}://" for tls in ("", "s") for kind in ("", "+sentinel", "+cluster")),
)
_DEFAULT_GROUP = "recblr"
MAX_TOKEN_KEYS = 2  # the current and the previous one


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A Redis stream and its consumer group.

    The URL is the one of its Redis; it may contain a password.
    """

    url: SecretStr
    stream: str
    group: str


def _split(value: object) -> object:
    return _entries(value) if isinstance(value, str) else value


def _entries(text: str) -> tuple[str, ...]:
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    if not entries:
        raise ValueError("nothing in the list")
    return entries


def _parse_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(parse_key(entry, f"key-{position}") for position, entry in enumerate(_entries(value), 1))


def _check_scheme(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(_STATE_SCHEMES):
        raise ValueError("unknown scheme")
    return url


def _check_root_path(path: str) -> str:
    if f"{path}/".startswith("/v1/"):
        raise ValueError("a prefix that the API's own paths have")
    return path


def _check_signing_key(key: SecretStr) -> SecretStr:
    if not re.fullmatch(KEY_PATTERN, key.get_secret_value()):
        raise ValueError("not usable as a key")
    return key


def _parse_token_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    keys = _entries(value)
    if len(keys) > MAX_TOKEN_KEYS or not all(re.fullmatch(KEY_PATTERN, key) for key in keys):
        raise ValueError("not usable as keys")
    return tuple(map(SecretStr, keys))


def _parse_stream(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    query = dict(parse_qsl(parts.query, strict_parsing=True))
    names = [query.pop("stream", ""), query.pop("group", _DEFAULT_GROUP)]
    # Other parameters configure the connection; the store validates them.
    known = all(name.startswith("ssl_") for name in query)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not known:
        raise ValueError("not a stream's URL")
    if not all(re.fullmatch(r"[!-~]{1,128}", name) for name in names):
        raise ValueError("not the name of a stream or a group")
    return StreamAddress(SecretStr(urlunsplit(parts._replace(query=urlencode(query)))), *names)


# An origin as a browser sends it: lower case, no path, a port only if it is not the scheme's default.
_Origin = Annotated[str, StringConstraints(pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?$")]

_Prefix = Annotated[
    str,
    StringConstraints(pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$", max_length=200),
    AfterValidator(_check_root_path),
]
RootPath = _Prefix | None
StateUrl = Annotated[SecretStr, AfterValidator(_check_scheme)]
SigningKey = Annotated[SecretStr, AfterValidator(_check_signing_key)]
StreamUrl = Annotated[StreamAddress | None, NoDecode, BeforeValidator(_parse_stream)]
ApiKeyList = Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_parse_keys)]
HostList = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,253}$")], ...],
    NoDecode,
    BeforeValidator(_split),
]
TokenKeyList = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_parse_token_keys)]
OriginList = Annotated[tuple[_Origin, ...], NoDecode, BeforeValidator(_split)]

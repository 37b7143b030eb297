"""The environment as one frozen, validated object. Every variable has the prefix RECBLR_."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.api_keys import SHORTEST_KEY, ApiKey, parse_key

PREFIX = "RECBLR_"
_NEAR = 0.75  # how alike a wrong name and a setting's must be for the one to be taken for the other
_STATE_SCHEMES = (
    "sqlite:///",
    *(f"redis{tls}{kind}://" for tls in ("", "s") for kind in ("", "+sentinel", "+cluster")),
)


class SettingsRefused(Exception):
    """A setting is wrong; the message is one sentence that names the variable and says what to do."""


def _entries(text: str) -> tuple[str, ...]:
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    if not entries:
        raise ValueError("nothing in the list")
    return entries


def _split(value: object) -> object:
    return _entries(value) if isinstance(value, str) else value


def _parse_keys(value: object) -> object:
    return tuple(map(parse_key, _entries(value))) if isinstance(value, str) else value


def _known_scheme(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(_STATE_SCHEMES):
        raise ValueError("unknown scheme")
    return url


def _usable_for_signing(key: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{32,512}", key.get_secret_value()):
        raise ValueError("not usable as a key")
    return key


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """A stream, the consumer group that reads it, and the URL of its Redis, which may hold a password."""

    url: SecretStr
    stream: str
    group: str


def _parse_stream(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    asked = dict(parse_qsl(parts.query, strict_parsing=True))
    names = [asked.pop("stream", ""), asked.pop("group", "recblr")]
    # What is left is the connection's, which the store knows.
    ours = all(name.startswith("ssl_") for name in asked)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or not ours:
        raise ValueError("not a stream's URL")
    if not all(re.fullmatch(r"[!-~]{1,128}", name) for name in names):
        raise ValueError("not the name of a stream or a group")
    return StreamAddress(SecretStr(urlunsplit(parts._replace(query=urlencode(asked)))), *names)


# As a browser writes it: lower case, no path, the port only where it is not the scheme's own.
Origin = Annotated[str, StringConstraints(pattern=r"^https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?$")]


class Settings(BaseSettings):
    """What an operator may choose.

    `title` completes the sentence "RECBLR_X must be …"; `description` is what `--help` prints.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field(
        default="127.0.0.1", min_length=1, title="an address or host name", description="address to listen on"
    )
    port: int = Field(
        default=8000, ge=1, le=65535, title="a whole number from 1 to 65535", description="port to listen on"
    )
    state_url: Annotated[SecretStr, AfterValidator(_known_scheme)] = Field(
        default=SecretStr("sqlite:///recblr.db"),
        title="a URL that begins with sqlite:///, redis://, redis+sentinel:// or redis+cluster:// (rediss for TLS)",
        description="where the event log lives: sqlite:///path, redis://host:port/db, redis+cluster://host:port,… or "
        "redis+sentinel://host:port,…/primary; with TLS rediss://, rediss+cluster://, rediss+sentinel://",
    )
    redis_wait: int = Field(
        default=0,
        ge=0,
        le=16,
        title="a whole number from 0 to 16",
        description="replicas that must have a write before it is acknowledged; with fewer it is answered 503",
    )
    bundle: Path = Field(
        default=Path("bundles/ml-1m-demo"), title="a path", description="model bundle, or a folder of versions of one"
    )
    watch: bool = Field(
        default=False,
        title="true or false",
        description="whether a bundle that is newly published in the folder of versions is taken over by itself",
    )
    bundle_key: Annotated[SecretStr, AfterValidator(_usable_for_signing)] | None = Field(
        default=None,
        title="32 to 512 printable ASCII characters without spaces",
        description="secret by which bundles are signed; with it, one that is not signed is refused",
    )
    stream_url: Annotated[StreamAddress | None, NoDecode, BeforeValidator(_parse_stream)] = Field(
        default=None,
        title="a URL like redis://host:port/0?stream=events&group=recblr (the group may be left out)",
        description="Redis stream to take events from, besides HTTP: redis://host:port/db?stream=name&group=recblr",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        title="a whole number from 1 to 256",
        description="server processes that share the port",
    )
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_parse_keys)] = Field(
        default=(),
        title=f"a comma-separated list of keys, each at least {SHORTEST_KEY} printable ASCII characters (every "
        "scope) or <scopes>:sha256:<64 hex digits> with scopes of read, write and admin, joined by +",
        description="comma-separated keys to /v1 and /metrics, in clear (every scope) or hashed, as --new-key prints "
        "them; without any these are open and /v1/admin is closed",
    )
    requests_per_second: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        title="a whole number from 1 to 1000000",
        description="requests a second that each API key may make of each worker process; more are answered 429",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = Field(
        default=(),
        title="a comma-separated list of origins, each like https://shop.example or http://localhost:3000",
        description="comma-separated origins whose pages may call from a browser, such as https://shop.example",
    )
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        title="cpu or cuda",
        description="where the model runs: cpu, or cuda for an NVIDIA GPU (needs the extra recblr-service[gpu])",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", title="debug, info, warning or error", description="debug, info, warning or error"
    )
    events_kept: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        title="a whole number from 10 to 100000",
        description="most recent events that the log keeps of each user",
    )
    days_kept: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        title="a whole number from 1 to 36500",
        description="days after which an event is removed from the log, and a user with the last one",
    )
    deadline: float = Field(
        default=2.0,
        gt=0,
        le=60,
        allow_inf_nan=False,
        title="a number of seconds above 0 and up to 60",
        description="seconds after which a request that still waits for its turn is answered 503 and not begun",
    )
    backfill_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        title="a number from 0 to 1",
        description="share of its time, on one core, that each worker may rebuild memos for after a change of model; "
        "0 leaves it to each user's next request",
    )
    min_recall: float = Field(
        default=0.99,
        gt=0,
        le=1,
        allow_inf_nan=False,
        title="a number above 0 and up to 1",
        description="least recall@10 of a large catalogue's index; one that measures less is not used",
    )

    accuracy_sample: float = Field(
        default=0.1,
        ge=0,
        le=1,
        allow_inf_nan=False,
        title="a number from 0 to 1",
        description="share of the events of which the metrics say how well the model foresaw them; 0 for none",
    )

    def signing_key(self) -> bytes | None:
        """The bytes of the key that bundles must be signed with, if any."""
        return None if self.bundle_key is None else self.bundle_key.get_secret_value().encode()


def load_settings() -> Settings:
    """The settings of this process's environment; raises `SettingsRefused` at the first fault."""
    _refuse_unknown()
    try:
        return Settings()
    except ValidationError as error:
        name = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
    field = Settings.model_fields[name]
    raise SettingsRefused(
        f"{PREFIX}{name.upper()} must be {field.title}: correct it, or unset it for the default ({_default(name)})."
    )


def describe_settings() -> str:
    """A line for each setting: name, default, meaning."""
    width = max(len(name) for name in Settings.model_fields) + len(PREFIX)
    lines = [
        f"  {PREFIX + name.upper():<{width}}  {field.description} (default: {_default(name)})"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(lines)


def _default(name: str) -> str:
    default = Settings.model_fields[name].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return "none" if default in ((), None) else str(default)


def _refuse_unknown() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            # Compared without the prefix, which would make any two names look alike.
            typed, names = name.upper().removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known]
            near = difflib.get_close_matches(typed, names, n=1, cutoff=_NEAR)
            advice = f"did you mean {PREFIX}{near[0]}?" if near else f"the settings are {', '.join(sorted(known))}."
            raise SettingsRefused(f"{name} is not a setting of this service; unset it or correct its name: {advice}")

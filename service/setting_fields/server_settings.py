"""Settings of the server: addresses, event log, models, keys."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service import setting_types as types
from service.api_keys import MIN_KEY_LENGTH, SCOPE_NAMES

PREFIX = "RECBLR_"


class ServerSettings(BaseSettings):
    """Settings of the server process.

    Field metadata, for error messages, `--help` and the documentation (`settings_reference`):
    title        the valid values; completes the sentence "RECBLR_X must be ...".
    description  what the setting does, in ASCII, so that `--help` prints in every locale.
    unit         in `json_schema_extra`, for numbers that have one.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        title="an address or host name",
        description="Address to listen on. 0.0.0.0: all IPv4 addresses of the machine.",
    )
    port: int = Field(
        default=8000, ge=1, le=65535, title="a whole number from 1 to 65535", description="TCP port to listen on."
    )
    state_url: types.StateUrl = Field(
        default=SecretStr("sqlite:///recblr.db"),
        title="a URL that begins with sqlite:///, redis://, redis+sentinel:// or redis+cluster:// (rediss for TLS)",
        description="Store of the event log: sqlite:///PATH, redis://HOST:PORT/DB, redis+cluster://HOST:PORT,... or "
        "redis+sentinel://HOST:PORT,.../PRIMARY. With TLS: rediss://, rediss+cluster://, rediss+sentinel://.",
    )
    redis_wait: int = Field(
        default=0,
        ge=0,
        le=16,
        title="a whole number from 0 to 16",
        description="Redis replicas that must confirm a write before it is acknowledged. With fewer: 503.",
        json_schema_extra={"unit": "replicas"},
    )
    bundle: Path = Field(
        default=Path("bundles/ml-1m-demo"),
        title="a path",
        description="Model bundle to serve, or a model registry: a folder of bundles.",
    )
    watch: bool = Field(
        default=False,
        title="true or false",
        description="Switch automatically to a bundle that is newly published in the model registry.",
    )
    bundle_key: types.SigningKey | None = Field(
        default=None,
        title="32 to 512 printable ASCII characters without spaces",
        description="Secret key of the bundle signatures. If set, bundles without a valid signature are refused.",
    )
    stream_url: types.StreamUrl = Field(
        default=None,
        title="a URL like redis://host:port/0?stream=events&group=recblr (the group may be left out)",
        description="Redis stream to read events from, besides HTTP: redis://HOST:PORT/DB?stream=NAME&group=NAME.",
    )
    item_stream_url: types.StreamUrl = Field(
        default=None,
        title="a URL like redis://host:port/0?stream=items&group=recblr (the group may be left out)",
        description="Redis stream to read items from, besides HTTP: redis://HOST:PORT/DB?stream=NAME&group=NAME.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        title="a whole number from 1 to 256",
        description="Worker processes that share the port.",
        json_schema_extra={"unit": "processes"},
    )
    api_keys: types.ApiKeyList = Field(
        default=(),
        title=f"a comma-separated list of keys, each at least {MIN_KEY_LENGTH} printable ASCII characters (every "
        f"scope) or [<name>=]<scopes>:sha256:<64 hex digits> with scopes of {SCOPE_NAMES}, joined by +",
        description="API keys for /v1 and /metrics, comma-separated: plain keys (every scope) or hashed keys, as "
        "printed by --new-key. Without keys these paths are open and /v1/admin is closed.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        title="a path",
        description="File of further API keys: an entry a line, # begins a comment. Read again within 2 s when it "
        "changes; a damaged file changes nothing.",
    )
    user_token_keys: types.TokenKeyList = Field(
        default=(),
        title="one or two keys of 32 to 512 printable ASCII characters without spaces, separated by a comma",
        description="Keys that sign user tokens for browsers, the current and the previous one. none: no tokens.",
    )
    requests_per_second: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        title="a whole number from 1 to 1000000",
        description="Rate limit of each API key, in each worker: work beyond it is answered 429. An event of a batch "
        "counts as a request, and long answers and histories as several.",
        json_schema_extra={"unit": "requests/s"},
    )
    cors_origins: types.OriginList = Field(
        default=(),
        title="a comma-separated list of origins, each like https://shop.example or http://localhost:3000",
        description="Origins whose web pages may call from a browser, comma-separated, such as https://shop.example.",
    )
    allowed_hosts: types.HostList = Field(
        default=(),
        title="a comma-separated list of host names without ports, such as recommender.internal",
        description="Names of a server without keys, besides localhost and addresses. Other Host headers: 403.",
    )
    root_path: types.RootPath = Field(
        default=None,
        title="a path such as /recommender, without a slash at its end and not under /v1",
        description="Prefix of all paths behind a proxy, which may remove or leave it; the OpenAPI document has it.",
    )
    open_to_network: bool = Field(
        default=False,
        title="true or false",
        description="Allow RECBLR_HOST to be all addresses of the machine (0.0.0.0 or ::) without RECBLR_API_KEYS.",
    )

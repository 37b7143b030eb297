"""Settings: environment variables with the prefix RECBLR_, as one validated object."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, SecretStr, StringConstraints, ValidationError

from service import setting_types as types
from service.api_keys import RetiredScopeError
from service.core.event_fields import EVENT_TYPE
from service.kubernetes import drop_injected
from service.setting_fields.server_settings import PREFIX, ServerSettings
from service.unknown_settings import unknown_variable


class SettingsError(Exception):
    """A setting is wrong; the message says what to do."""


class Settings(ServerSettings):
    """Everything an operator can configure."""

    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        title="cpu or cuda",
        description="Device that runs the model. cuda is an NVIDIA GPU and needs the extra gpu.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        title="debug, info, warning or error",
        description="Lowest level of log messages that are written.",
    )
    access_log: bool = Field(
        default=True,
        title="true or false",
        description="Write a line for each request, at log level info: caller, route, status, seconds.",
    )
    events_kept: int = Field(
        default=1000,
        ge=10,
        le=100_000,
        title="a whole number from 10 to 100000",
        description="Newest events of each user that the event log keeps.",
        json_schema_extra={"unit": "events"},
    )
    days_kept: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        title="a whole number from 1 to 36500",
        description="Age at which an event is removed, from its arrival on. A user without events is removed too.",
        json_schema_extra={"unit": "days"},
    )
    deadline: FiniteFloat = Field(
        default=2.0,
        gt=0,
        le=60,
        title="a number of seconds above 0 and up to 60",
        description="Longest time a request may be queued. Then it is answered 503 and not started.",
        json_schema_extra={"unit": "seconds"},
    )
    backfill_share: FiniteFloat = Field(
        default=0.5,
        ge=0,
        le=1,
        title="a number from 0 to 1",
        description="Largest fraction of a core that each worker spends on backfills. 0: no backfill.",
        json_schema_extra={"unit": "fraction"},
    )
    min_recall: FiniteFloat = Field(
        default=0.99,
        gt=0,
        le=1,
        title="a number above 0 and up to 1",
        description="Lowest measured recall@10 at which an index is used. Below it the search is exact.",
        json_schema_extra={"unit": "fraction"},
    )
    catalogue: Literal["open", "listed"] = Field(
        default="open",
        title="open or listed",
        description="Whether items without an entry in the catalogue may be in answers. open: yes. listed: no.",
    )
    catalogue_folder: Path | None = Field(
        default=None,
        title="a path",
        description="Folder of the catalogue's snapshot. none: beside the SQLite file; with Redis: no snapshot.",
    )
    accuracy_sample: FiniteFloat = Field(
        default=0.1,
        ge=0,
        le=1,
        title="a number from 0 to 1",
        description="Fraction of the events that are evaluated for the live accuracy metrics. 0: none.",
        json_schema_extra={"unit": "fraction"},
    )

    id_keys: types.TokenKeyList = Field(
        default=(),
        title="one or two keys of 32 to 512 printable ASCII characters without spaces, separated by a comma",
        description="Keys that sign the recommendation ids of answers, the current and the previous one. "
        "none: no ids, and nothing is attributed.",
    )
    attribution_days: int = Field(
        default=7,
        ge=1,
        le=90,
        title="a whole number from 1 to 90",
        description="Days after an answer in which events with its recommendation id count.",
        json_schema_extra={"unit": "days"},
    )
    impression_sample: int = Field(
        default=1,
        ge=1,
        le=1000,
        title="a whole number from 1 to 1000",
        description="The impressions of one recommendation id of this many are counted, and weighted by it. 1: all.",
        json_schema_extra={"unit": "ids"},
    )
    conversion_type: Annotated[str, StringConstraints(pattern=f"^{EVENT_TYPE}$")] = Field(
        default="purchase",
        title="a type of events: a small letter, then up to 31 small letters, digits and _",
        description="Type of the events that are conversions. Their value is what a recommendation earned.",
    )

    def attribution_rules(self) -> tuple[list[bytes], int, int, str]:
        """Return keys, days, sample and conversion type of the attribution."""
        keys = [key.get_secret_value().encode() for key in self.id_keys]
        return keys, self.attribution_days, self.impression_sample, self.conversion_type

    def signing_key(self) -> bytes | None:
        """Return the key of the bundle signatures, if they are required."""
        return None if self.bundle_key is None else self.bundle_key.get_secret_value().encode()


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises `SettingsError` for the first variable that is wrong or unknown.
    """
    drop_injected(os.environ)
    problem = unknown_variable(os.environ, PREFIX, {variable_of(name) for name in Settings.model_fields})
    if problem is not None:
        raise SettingsError(problem)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name, reason = str(first["loc"][0]), first.get("ctx", {}).get("error")
    if isinstance(reason, RetiredScopeError):
        raise SettingsError(f"{variable_of(name)}: {reason}.")
    wrong = f"{variable_of(name)} must be {Settings.model_fields[name].title}"
    raise SettingsError(f"{wrong}: correct it, or unset it for the default ({default_of(name)}).")


def variable_of(name: str) -> str:
    """Return the environment variable of a field."""
    return PREFIX + name.upper()


def default_of(name: str) -> str:
    """Return a field's default as an operator would write it."""
    default = Settings.model_fields[name].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    text = "none" if default in ((), None) else str(default)
    return text.lower() if isinstance(default, bool) else text

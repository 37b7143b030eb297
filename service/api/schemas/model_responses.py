"""Response bodies of the routes about models, backfills and health."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

_LiveVersion = Annotated[str, Field(description="Model version that is live now.")]


class LiveOut(BaseModel):
    """The process runs."""

    status: Literal["ok"] = Field(description="Always `ok`.")


class ReadyOut(BaseModel):
    """The service can answer requests."""

    status: Literal["ready"] = Field(description="Always `ready`.")
    event_log: Literal["ok", "full"] = Field(
        description="`full`: the event log's memory is full. Events are refused, all else is answered."
    )
    catalogue_age_seconds: float = Field(
        description="Seconds since this worker's copy of the catalogue was known to be current; below 1 as a rule."
    )


class ModelConfigOut(BaseModel):
    """Shape of the network."""

    items: int = Field(description="Number of items that the model knows.")
    dim: int = Field(description="Width of the embeddings.")
    expansion: int = Field(description="Channels of the recurrence, divided by `dim`.")
    conv_width: int = Field(description="Taps of the convolution.")
    layers: int = Field(description="Number of layers.")
    start_token: bool = Field(description="Whether every history begins with a start token.")


class EventTypeOut(BaseModel):
    """Rule of an event type under a model."""

    replay: Literal["replayed", "excluded", "ignored"] = Field(
        description="Whether such events are replayed, only exclude their items from answers, or do neither."
    )
    weight: float = Field(description="Weight of such an event as a target of the training.")
    positive: bool = Field(description="Whether the user wanted the item.")


class _ModelOut(BaseModel):
    version: str = Field(description="Model version.")
    created: str = Field(description="Time at which the model was trained, in ISO 8601.")
    config: ModelConfigOut = Field(description="Hyperparameters that shape the network.")
    metrics: dict[str, Any] = Field(description="Accuracy at the end of the training, and recall of the index.")
    training_data: dict[str, Any] = Field(description="What the model was trained on, and how.")
    event_types: dict[str, EventTypeOut] | None = Field(
        default=None,
        description="Types of events that the model knows; others are kept and ignored. Null: it was trained "
        "on one type, and takes all but `dislike` and `impression` alike.",
    )


class TestedModelOut(_ModelOut):
    """The model that an A/B test tests beside the live one."""

    share: float = Field(description="Fraction of the users who get this model.")


class ModelOut(_ModelOut):
    """The live model."""

    test: TestedModelOut | None = Field(description="The tested model of an A/B test. Null: no test runs.")


class AbTestOut(BaseModel):
    """The A/B test that runs in every worker."""

    model_version: _LiveVersion
    tested_version: str = Field(description="Model version that is tested beside it.")
    share: float = Field(description="Fraction of the users who get the tested version.")


class ReloadedOut(BaseModel):
    """The switch to another model version."""

    model_version: _LiveVersion
    previous_version: str = Field(description="Model version that was live before.")


class BackfillOut(BaseModel):
    """Progress of one model version's backfill, over all workers."""

    model_version: str = Field(description="Model version whose snapshots are computed.")
    running: bool = Field(description="Whether the backfill still runs.")
    fraction_done: float = Field(description="Fraction of the users processed in this pass.")
    pass_number: int = Field(
        serialization_alias="pass",
        description="Number of this pass over the users. If a pass finds missing or old snapshots, another follows.",
    )
    users: int = Field(description="Number of users in the log.")
    snapshots: int = Field(description="Snapshots written so far.")
    events: int = Field(description="Events replayed so far.")
    started_at: datetime = Field(description="Start of the backfill.")
    ended_at: datetime | None = Field(description="End of the backfill. Null: it still runs.")


class BackfillsOut(BaseModel):
    """Backfills of all recent model versions."""

    backfills: list[BackfillOut] = Field(description="Backfills, newest first.")

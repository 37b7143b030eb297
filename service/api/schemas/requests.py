"""Every request and answer of the API. Unknown fields are refused; answers state each field, also where null."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from service.api.schemas.field_types import Count, Identifier, NewEventId, Seconds, Version
from service.api.schemas.validation_messages import problems_of
from service.core.errors import InvalidRequest


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventIn(_Body):
    """One event: a user did something with an item. The same `event_id` again is a retry, not a second event."""

    user_id: Identifier
    item_id: Identifier
    timestamp: Seconds = Field(
        default=None, description="ISO 8601 (UTC unless it states an offset) or Unix seconds; default now"
    )
    event_id: NewEventId | None = Field(default=None, description="makes the event safe to send again")


_EVENT: TypeAdapter[EventIn] = TypeAdapter(EventIn)


def event_or_error(value: object) -> EventIn | InvalidRequest:
    """Each event of a batch stands for itself: a bad one does not take the others with it."""
    try:
        return _EVENT.validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return InvalidRequest("this event does not follow the contract", details=problems_of(found))


class EventBatchIn(_Body):
    """Events of any users; each user's are appended in the order given."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    events: list[
        Annotated[EventIn | InvalidRequest, PlainValidator(event_or_error, json_schema_input_type=EventIn)]
    ] = Field(min_length=1, max_length=1000)


class HistoryIn(_Body):
    """A history that is not in the log, oldest item first."""

    history: list[Identifier] = Field(max_length=1000)
    k: Count = 10
    exclude_seen: bool = True


class CandidatesIn(_Body):
    """Items to put in order for a user."""

    candidates: list[Identifier] = Field(min_length=1, max_length=1000)


class MergeIn(_Body):
    """The user to merge into the one in the path, such as an anonymous visitor who has signed in."""

    from_user_id: Identifier


class ReloadIn(_Body):
    """Which bundle to make live; without a version the newest."""

    version: Version | None = None


class TestIn(_Body):
    """Which version answers a share of the users beside the live model."""

    version: Version
    share: float = Field(gt=0, lt=1, allow_inf_nan=False, description="0.1 is a tenth of the users")


class TestEndIn(_Body):
    """Which of the two versions answers everybody from now on."""

    winner: Version


class NoQuery(_Query):
    """For operations without query parameters: each one that is sent is a mistake."""


class RecordQuery(_Query):
    """`k` asks for recommendations that already reflect the event; `exclude_seen` says which."""

    k: Count | None = None
    exclude_seen: bool = True


class TopKQuery(_Query):
    """How many items, and whether those of the user's history may be among them."""

    k: Count = 10
    exclude_seen: bool = True


class SimilarQuery(_Query):
    """How many items."""

    k: Count = 10


class PageQuery(_Query):
    """The newest `limit` events before `before`."""

    limit: int = Field(1000, ge=1, le=1000)
    before: int | None = Field(default=None, ge=1, le=2**53, description="`next_before` of the page before this one")


class ErrorDetail(BaseModel):
    """One field and what is wrong with it."""

    field: str
    problem: str


class ErrorInfo(BaseModel):
    """`code` is stable and for programs; `message` is for people and says what to do."""

    code: str
    message: str
    details: list[ErrorDetail] | None = None


class ErrorOut(BaseModel):
    """The shape of every error."""

    error: ErrorInfo


class ItemOut(BaseModel):
    """An item; title and categories are there only if the bundle has them."""

    item_id: str
    score: float | None = Field(description="higher is better; comparable within one answer; null: item unknown")
    title: str | None = None
    categories: list[str] | None = None


class ItemsOut(BaseModel):
    """Items, best first, and the model that chose them."""

    model_version: str
    source: Literal["state", "cold_start"]
    items: list[ItemOut]


class RecommendationsOut(BaseModel):
    """Items for a user, best first, from the fold of the user's events up to `sequence`."""

    user_id: str
    model_version: str
    sequence: int
    source: Literal["state", "cold_start"]
    items: list[ItemOut]


class SimilarOut(BaseModel):
    """The items nearest to `item_id` by cosine."""

    item_id: str
    model_version: str
    items: list[ItemOut]


class RecordedOut(BaseModel):
    """The event is in the log at `sequence`; `duplicate` says that it already was."""

    user_id: str
    sequence: int
    duplicate: bool
    known_item: bool = Field(
        description="whether the model that answers the user knows the item; the log keeps it either way"
    )
    recommendations: RecommendationsOut | None = Field(
        default=None,
        description="only with `k`; null if none could be computed now: the event is stored all the same",
    )


class BatchOut(BaseModel):
    """One entry for each event, in order: what was recorded, or why it was not."""

    results: list[RecordedOut | ErrorOut]


class EventOut(BaseModel):
    """A committed event; `timestamp` in Unix seconds."""

    sequence: int
    item_id: str
    timestamp: float
    event_id: str


class EventsOut(BaseModel):
    """A page of kept events, newest last; `next_before` leads to the page of older ones, null at the end."""

    user_id: str
    events: list[EventOut]
    next_before: int | None


class UserOut(BaseModel):
    """What the log holds of a user."""

    user_id: str
    sequence: int = Field(description="newest sequence number given out")
    events: int = Field(description="events kept")
    trimmed: int = Field(description="newest sequence number that retention has removed; 0 if none")
    last_event: EventOut | None
    model_version: str


class AuditOut(BaseModel):
    """The stored memo against a fold of the kept events by the same model.

    `exact` is false where the memo still reflects events that retention has removed: a difference is expected then.
    """

    user_id: str
    model_version: str
    sequence: int
    applied: int
    kept_events: int
    snapshot: Literal["found", "absent", "damaged"]
    exact: bool
    max_relative_error: float | None


class UserDeletedOut(BaseModel):
    """Everything about the user is gone."""

    user_id: str
    deleted_events: int


class MergedOut(BaseModel):
    """The other user's events are in this user's log, in order of their timestamps, and the other user is gone."""

    user_id: str
    from_user_id: str
    moved_events: int
    duplicate_events: int = Field(description="left out: the same event_id with the same payload was there already")
    conflicting_events: int = Field(description="left out: their event_id was taken by an event with another payload")
    sequence: int = Field(description="newest sequence number after the merge")
    repeated: bool = Field(description="whether this merge was done before; then the counts are those of that time")


class EventDeletedOut(BaseModel):
    """The event is gone as if it had never been."""

    user_id: str
    event_id: str
    deleted: Literal[True]


class TestOut(BaseModel):
    """The A/B test that runs now, in every worker."""

    model_version: str
    tested_version: str
    share: float


class ReloadedOut(BaseModel):
    """The model that answers now, and the one before it."""

    model_version: str
    previous_version: str

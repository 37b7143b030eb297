"""Request bodies and query parameters of the API.

Unknown fields are refused: a misspelled field must not be ignored silently.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from service.api.schemas.field_types import (
    Count,
    EventType,
    EventValue,
    Identifier,
    NewEventId,
    RecommendationId,
    Seconds,
    Version,
)
from service.api.schemas.restrictions import (
    RestrictingBody,
    RestrictingQuery,
    UserRestrictingBody,
    UserRestrictingQuery,
)
from service.api.schemas.validation_messages import validation_details
from service.core.errors import InvalidRequest
from service.core.events import NewEvent

_K = "Number of items to return."
_EXCLUDE_SEEN = "Leave out the items of the user's history."


class StrictBody(BaseModel):
    """Body without unknown fields or coerced values."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StrictQuery(BaseModel):
    """Query parameters without unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EventIn(StrictBody):
    """One event: a user did something with an item."""

    user_id: Identifier = Field(description="User who acted. 1 to 256 characters, no control characters.")
    item_id: Identifier = Field(description="Item that the user acted on. It may be unknown to the model.")
    timestamp: Seconds = Field(
        default=None,
        description="Time of the event: ISO 8601 (UTC if it states no offset) or Unix seconds. Default: now.",
    )
    event_id: NewEventId | None = Field(
        default=None,
        description="Idempotency key. The same id with the same payload is a retry and is stored once.",
    )
    type: EventType | None = Field(
        default=None,
        description="What the user did, such as `cart`, `purchase` or `dislike`: a letter from a to z, then at most "
        "31 of a to z, 0 to 9 and _. Default: `view`.",
    )
    value: EventValue = Field(
        default=None, description="What it was worth, such as a price: a number from -1e12 to 1e12."
    )
    recommendation_id: RecommendationId | None = Field(
        default=None, description="The `recommendation_id` of the answer that showed the item."
    )

    def new_event(self, event_id: str | None, now: float) -> NewEvent:
        """Return the event to append; without a timestamp its time is `now`."""
        return NewEvent.create(
            self.item_id, self.timestamp, event_id, now, self.type or "", self.value, self.recommendation_id or ""
        )


def _unchanged(value: object) -> object:
    return value


_EVENT: TypeAdapter[EventIn] = TypeAdapter(EventIn)


def event_or_error(value: object) -> EventIn | InvalidRequest:
    """Validate one event of a batch; return the error, if any.

    The error is not raised, so that the other events of the batch are recorded.
    """
    try:
        return _EVENT.validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return InvalidRequest("this event does not follow the contract", details=validation_details(found))


class EventBatchIn(StrictBody):
    """Events of any number of users."""

    # Not validated here: 1,000 events would hold the event loop. The route calls `event_or_error` in its thread.
    events: list[Annotated[object, PlainValidator(_unchanged, json_schema_input_type=EventIn)]] = Field(
        min_length=1,
        max_length=1000,
        description="The events. Events of the same user are appended in the order given.",
    )


class QuestionEventIn(EventIn, UserRestrictingBody):
    """One event, and what its answer leaves out."""


class QuestionIn(StrictBody, UserRestrictingBody):
    """Question for a user's recommendations."""

    k: Count = Field(default=10, description=_K)
    exclude_seen: bool = Field(default=True, description=_EXCLUDE_SEEN)


class GivenPart(BaseModel):
    """Part of an answer, without coerced values; other fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)


class GivenItemIn(GivenPart):
    """An item of an answer."""

    item_id: Identifier = Field(description="The item.")
    score: float = Field(allow_inf_nan=False, description="Its score.")


class GivenAnswerIn(GivenPart):
    """An answer as it was received.

    Other fields of the answer are ignored.
    """

    model_version: Version = Field(description="Model version of the answer.")
    sequence: int = Field(ge=0, le=2**53, description="Sequence of the answer.")
    catalogue_revision: str | None = Field(
        default=None, max_length=1024, description="Revision of the catalogue that the answer names, if any."
    )
    evaluated_at: float | None = Field(
        default=None, ge=0, le=2**33, description="Time that an answer under a filter names."
    )
    items: list[GivenItemIn] = Field(max_length=250, description="Items of the answer, best first; at most 250.")


class AnswerAuditIn(StrictBody):
    """A question for a user's recommendations, and its answer."""

    question: QuestionIn = Field(
        default_factory=QuestionIn,
        description="The question, as its body would be.",
        json_schema_extra={"default": QuestionIn().model_dump()},
    )
    answer: GivenAnswerIn = Field(description="The answer.")


class HistoryIn(StrictBody, RestrictingBody):
    """A history that is not in the event log."""

    history: list[Identifier] = Field(max_length=1000, description="Item ids, oldest first.")
    k: Count = Field(default=10, description=_K)
    exclude_seen: bool = Field(default=True, description="Leave out the items of `history`.")


class CandidatesIn(StrictBody, UserRestrictingBody):
    """Items to rank for a user."""

    candidates: list[Identifier] = Field(min_length=1, max_length=1000, description="Item ids to rank.")


class MergeIn(StrictBody):
    """The user to merge, such as a visitor who has signed in."""

    from_user_id: Identifier = Field(description="User whose events are moved. This user is deleted.")


class ReloadIn(StrictBody):
    """The model version to serve."""

    version: Version | None = Field(default=None, description="Model version to serve. Default: the newest.")


class AbTestIn(StrictBody):
    """The second model version of an A/B test."""

    version: Version = Field(description="Model version to test beside the live one.")
    share: float = Field(
        gt=0, lt=1, allow_inf_nan=False, description="Fraction of the users who get the tested version."
    )


class AbTestEndIn(StrictBody):
    """The winner of an A/B test."""

    winner: Version = Field(description="Model version to serve to all users from now on.")


class NoQuery(StrictQuery):
    """No query parameters: any parameter is refused."""


class RecordQuery(StrictQuery, UserRestrictingQuery):
    """Whether to answer an event with recommendations."""

    k: Count | None = Field(
        default=None, description="Number of recommendations to return. Without `k` none are returned."
    )
    exclude_seen: bool = Field(default=True, description=_EXCLUDE_SEEN)


class TopKQuery(StrictQuery, UserRestrictingQuery):
    """Number of items, with or without the user's history."""

    k: Count = Field(default=10, description=_K)
    exclude_seen: bool = Field(default=True, description=_EXCLUDE_SEEN)


class SimilarQuery(StrictQuery, RestrictingQuery):
    """Number of similar items."""

    k: Count = Field(default=10, description=_K)


class PageQuery(StrictQuery):
    """One page of a user's events."""

    limit: int = Field(default=1000, ge=1, le=1000, description="Largest number of events on the page.")
    before: int | None = Field(
        default=None,
        ge=1,
        le=2**53,
        description="Return events with a smaller sequence: `next_before` of the page before. Default: the newest.",
    )

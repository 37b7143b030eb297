"""Response bodies of the API.

Every field is present in a response, also if its value is null. Exceptions: `title`, `categories`, `attributes` and
`eligible` of an item, `vector` of a listed item, what limited an answer, `recommendations` of a recorded event, and
`details` of an error.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

_UserId = Annotated[str, Field(description="User id.")]
_ItemId = Annotated[str, Field(description="Item id.")]
_EventId = Annotated[str, Field(description="Event id; `seq-<sequence>` if the client sent none.")]
_ModelVersion = Annotated[str, Field(description="Model version that computed the answer.")]
_Sequence = Annotated[int, Field(description="Sequence of the newest event that the answer reflects. 0: no events.")]
_Source = Annotated[
    Literal["state", "cold_start"],
    Field(description="`cold_start` if the history holds no item that the model knows, otherwise `state`."),
]


class ErrorDetail(BaseModel):
    """One field and what is wrong with it."""

    field: str = Field(description="Path of the field, such as `history.2`.")
    problem: str = Field(description="What is wrong with the value.")
    offset: int | None = Field(default=None, description="Of a filter: characters before the place.")
    line: int | None = Field(default=None, description="Of a filter: line of the place, from 1.")
    column: int | None = Field(default=None, description="Of a filter: column of the place, from 1.")
    suggestion: str | None = Field(default=None, description="Of a filter: a name that may be meant.")


class ErrorInfo(BaseModel):
    """One error."""

    code: str = Field(description="Stable name of the error, for programs.")
    message: str = Field(description="What went wrong and what to do, for people.")
    details: list[ErrorDetail] | None = Field(default=None, description="The fields that are wrong, at most 20.")


class ErrorOut(BaseModel):
    """Body of every error response."""

    error: ErrorInfo = Field(description="The error.")


class ItemOut(BaseModel):
    """One item of an answer."""

    item_id: _ItemId
    score: float | None = Field(
        description="Higher is better. Comparable within one answer only. Null: the model does not know the item."
    )
    title: str | None = Field(default=None, description="Title; left out if there is none.")
    categories: list[str] | None = Field(default=None, description="Categories; left out if there are none.")
    attributes: dict[str, bool | float | str | list[str]] | None = Field(
        default=None, description="With `fields`: those attributes that the item has in the catalogue."
    )
    eligible: bool | None = Field(
        default=None, description="In a ranking: whether the item may be recommended. Unknown items may not."
    )


_Items = Annotated[list[ItemOut], Field(description="Items, best first.")]


class LimitedOut(BaseModel):
    """Limits of an answer, and its id."""

    recommendation_id: str | None = Field(
        default=None,
        description="Signed id of the answer, to be sent with the events that it causes; left out unless the server "
        "has keys for ids.",
    )
    catalogue_revision: str | None = Field(
        default=None, description="State of the catalogue that the answer is of; left out while it is empty."
    )
    evaluated_at: float | None = Field(default=None, description="With a filter: its now(), in Unix seconds.")
    short: Literal[True] | None = Field(
        default=None, description="Present if there are fewer items than asked for: these are all."
    )
    eligible: int | None = Field(
        default=None, description="With `short`: number of items that filter and exclusions leave."
    )


class ItemsOut(LimitedOut):
    """Recommendations for a history."""

    model_version: _ModelVersion
    source: _Source
    items: _Items


class RecommendationsOut(LimitedOut):
    """Recommendations for a user, from the events up to `sequence`."""

    user_id: _UserId
    model_version: _ModelVersion
    sequence: _Sequence
    source: _Source
    items: _Items


class SimilarOut(LimitedOut):
    """The items nearest to one item by cosine similarity."""

    item_id: _ItemId
    model_version: _ModelVersion
    items: _Items


class RecordedOut(BaseModel):
    """A recorded event."""

    user_id: _UserId
    sequence: int = Field(description="Position of the event in the user's log, counted from 1.")
    duplicate: bool = Field(description="True if the event was already in the log: the request was a retry.")
    known_item: bool = Field(
        description="Whether the model that answers the user knows the item. The event is stored either way."
    )
    recommendations: RecommendationsOut | None = Field(
        default=None,
        description="Present only with `k`. Null if they could not be computed; the event is stored nevertheless.",
    )


class BatchOut(BaseModel):
    """Outcome of a batch."""

    results: list[RecordedOut | ErrorOut] = Field(description="One outcome per event, in the order of the request.")


class EventOut(BaseModel):
    """One event of the log."""

    sequence: int = Field(description="Position of the event in the user's log, counted from 1.")
    item_id: _ItemId
    timestamp: float = Field(description="Time of the event in Unix seconds.")
    event_id: _EventId
    type: str = Field(description="What the user did; `view` if the client sent no type.")
    value: float | None = Field(description="What it was worth. Null: the client sent none.")
    recommendation_id: str | None = Field(
        description="The recommendation id that the client sent, unverified. Null: none."
    )


class EventsOut(BaseModel):
    """One page of a user's events."""

    user_id: _UserId
    events: list[EventOut] = Field(description="Events, newest last.")
    next_before: int | None = Field(description="`before` of the next, older page. Null: this is the last page.")


class UserOut(BaseModel):
    """Summary of a user's event log."""

    user_id: _UserId
    sequence: int = Field(description="Newest sequence that was assigned.")
    events: int = Field(description="Number of events kept in the log.")
    trimmed: int = Field(description="Newest sequence that retention has removed. 0: none.")
    last_event: EventOut | None = Field(description="Newest event. Null: no event is kept.")
    model_version: str = Field(description="Model version that answers this user.")


class AuditOut(BaseModel):
    """Comparison of the stored snapshot with a new replay."""

    user_id: _UserId
    model_version: str = Field(description="Model version of the snapshot and of the replay.")
    sequence: int = Field(description="Newest sequence of the user's log.")
    applied: int = Field(description="Sequence up to which the snapshot has replayed the events.")
    kept_events: int = Field(description="Number of events kept in the log.")
    snapshot: Literal["found", "absent", "damaged"] = Field(description="State of the stored snapshot.")
    exact: bool = Field(
        description="False if the snapshot reflects events that retention has removed; a difference is then expected."
    )
    max_relative_error: float | None = Field(
        description="Largest difference from the replayed state, relative to its largest value. "
        "0: no snapshot is stored. Null: it is damaged, and the next answer replaces it."
    )


class AnswerAuditOut(BaseModel):
    """Comparison of an answer with a new computation."""

    user_id: _UserId
    outcome: Literal["confirmed", "refuted", "unknown"] = Field(
        description="Whether the answer was right. Unknown: something that it depended on is gone."
    )
    reason: str | None = Field(default=None, description="What is gone, if the outcome is `unknown`.")
    changed_items: int = Field(
        description="Items that have changed since the answer's revision of the catalogue. They are not compared, "
        "because the catalogue keeps only what they are now."
    )
    forbidden_items: list[str] = Field(description="Items of the answer that were not allowed in it.")
    missing_items: list[str] = Field(
        description="Items that belong into the answer. A search index may miss one, so there they refute nothing."
    )
    max_relative_error: float | None = Field(
        description="Largest difference of a score, relative to the largest score. Null: nothing was compared."
    )


class UserDeletedOut(BaseModel):
    """A deleted user."""

    user_id: _UserId
    deleted_events: int = Field(description="Number of events removed. 0: the user had none.")


class MergedOut(BaseModel):
    """Outcome of merging one user into another."""

    user_id: _UserId
    from_user_id: str = Field(description="User whose events were moved, and who is deleted.")
    moved_events: int = Field(description="Events added to the log of `user_id`.")
    duplicate_events: int = Field(description="Events left out: same event id and same payload already present.")
    conflicting_events: int = Field(description="Events left out: event id already used with another payload.")
    sequence: int = Field(description="Newest sequence after the merge.")
    repeated: bool = Field(description="True if this merge was done before; the counts are those of the first time.")


class EventDeletedOut(BaseModel):
    """A deleted event."""

    user_id: _UserId
    event_id: _EventId
    deleted: Literal[True] = Field(description="Always true.")

"""What the log holds of a user: to read, to check, to delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import UseCases
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import (
    AuditOut,
    EventDeletedOut,
    EventsOut,
    MergedOut,
    MergeIn,
    NoQuery,
    PageQuery,
    UserDeletedOut,
    UserOut,
)
from service.api.scopes import needs
from service.api.serializers import event_out
from service.api_keys import KeyScope

router = APIRouter(prefix="/v1/users", tags=["users"])


@router.get("/{user_id}", openapi_extra=needs(KeyScope.READ))
async def user(user_id: PathId, query: Annotated[NoQuery, Query()], recommender: UseCases) -> UserOut:
    """Counts, the last event and the version of the model that answers the user."""
    history = await recommender.history(user_id, None, 1)
    return UserOut(
        user_id=user_id,
        sequence=history.sequence,
        events=history.kept,
        trimmed=history.trimmed,
        last_event=event_out(history.events[-1]) if history.events else None,
        model_version=recommender.model_for(user_id).version,
    )


@router.get("/{user_id}/events", openapi_extra=needs(KeyScope.READ))
async def events(user_id: PathId, query: Annotated[PageQuery, Query()], recommender: UseCases) -> EventsOut:
    """A page of the kept events, newest last. Begin without `before`, go on with `next_before` until it is null."""
    # One more than the page shows whether there is another.
    history = await recommender.history(user_id, query.before, query.limit + 1)
    page = history.events[-query.limit :]
    more = len(history.events) > query.limit
    return EventsOut(
        user_id=user_id,
        events=[event_out(event) for event in page],
        next_before=page[0].sequence if more else None,
    )


@router.get("/{user_id}/audit", openapi_extra=needs(KeyScope.READ))
async def audit(user_id: PathId, query: Annotated[NoQuery, Query()], recommender: UseCases) -> AuditOut:
    """Fold the kept events anew and compare the result with the stored memo."""
    found = await recommender.audit(user_id)
    return AuditOut(
        user_id=user_id,
        model_version=found.model_version,
        sequence=found.sequence,
        applied=found.applied,
        kept_events=found.kept,
        snapshot=found.snapshot,
        exact=found.exact,
        max_relative_error=found.max_relative_error,
    )


@router.post("/{user_id}/merge", openapi_extra=needs(KeyScope.WRITE))
async def merge_user(
    user_id: PathId, merge: MergeIn, query: Annotated[NoQuery, Query()], recommender: UseCases
) -> MergedOut:
    """Move another user's events into this user's log, in order of their timestamps; the other user is gone then.

    Both histories count from now on as if they had been one. Events that get another place get new sequence numbers.
    Doing it again is no error. After a 503 repeat it: until then the other user's events may be in neither log.
    """
    merged = await recommender.merge_user(user_id, merge.from_user_id)
    return MergedOut(
        user_id=user_id,
        from_user_id=merge.from_user_id,
        moved_events=merged.moved,
        duplicate_events=merged.duplicates,
        conflicting_events=merged.conflicts,
        sequence=merged.sequence,
        repeated=merged.repeated,
    )


@router.delete("/{user_id}", openapi_extra=needs(KeyScope.WRITE))
async def delete_user(user_id: PathId, query: Annotated[NoQuery, Query()], recommender: UseCases) -> UserDeletedOut:
    """Remove everything about the user. Doing it again is no error and removes 0 events.

    If merging another user into this one ended in an error, delete the other one, too: what had not come in yet would
    still do so, and the user be there again.
    """
    return UserDeletedOut(user_id=user_id, deleted_events=await recommender.delete_user(user_id))


@router.delete("/{user_id}/events/{event_id}", openapi_extra=needs(KeyScope.WRITE))
async def delete_event(
    user_id: PathId, event_id: PathId, query: Annotated[NoQuery, Query()], recommender: UseCases
) -> EventDeletedOut:
    """Remove one event as if it had never been; an event that came without an id is called seq-<sequence>."""
    await recommender.delete_event(user_id, event_id)
    return EventDeletedOut(user_id=user_id, event_id=event_id, deleted=True)

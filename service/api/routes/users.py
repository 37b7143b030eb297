"""Routes about a user's event log: read, audit, merge, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.api import request_costs
from service.api.answers import event_out, prepare
from service.api.dependencies import CallerDep, RecommenderDep, ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.field_types import PathId
from service.api.schemas.requests import AnswerAuditIn, MergeIn, NoQuery, PageQuery
from service.api.schemas.responses import (
    AnswerAuditOut,
    AuditOut,
    EventDeletedOut,
    EventsOut,
    MergedOut,
    UserDeletedOut,
    UserOut,
)
from service.api.schemas.restrictions import Restrictions
from service.api.work_thread import BodyRoute
from service.api_keys import KeyScope
from service.core.engine_requests import TopK
from service.core.recommending.audit.answer_audit import GivenAnswer

router = APIRouter(prefix="/v1/users", tags=["users"], route_class=BodyRoute)


@router.get("/{user_id}", openapi_extra=needs(KeyScope.READ, bound_user="path"), summary="Summarize a user")
async def read_user(user_id: PathId, query: Annotated[NoQuery, Query()], services: ServicesDep) -> UserOut:
    """Return the user's event counts, last event and model version."""
    history = await services.recommender.history(user_id, None, 1)
    return UserOut(
        user_id=user_id,
        sequence=history.sequence,
        events=history.kept,
        trimmed=history.trimmed,
        last_event=event_out(history.events[-1]) if history.events else None,
        model_version=services.models.for_user(user_id).version,
    )


@router.get(
    "/{user_id}/events", openapi_extra=needs(KeyScope.READ, bound_user="path"), summary="List a user's events"
)
async def list_events(
    user_id: PathId, query: Annotated[PageQuery, Query()], recommender: RecommenderDep
) -> EventsOut:
    """Return a page of the kept events, newest last.

    The first page has no `before`. Pass `next_before` as `before` to get the next, older page, until it is null.
    """
    # One event more than the page holds shows whether another page follows.
    history = await recommender.history(user_id, query.before, query.limit + 1)
    page = history.events[-query.limit :]
    more = len(history.events) > query.limit
    return EventsOut(
        user_id=user_id,
        events=[event_out(event) for event in page],
        next_before=page[0].sequence if more else None,
    )


@router.get(
    "/{user_id}/audit", openapi_extra=needs(KeyScope.READ, bound_user="path"), summary="Audit a user's snapshot"
)
async def audit_user(
    user_id: PathId, query: Annotated[NoQuery, Query()], recommender: RecommenderDep, caller: CallerDep
) -> AuditOut:
    """Replay the kept events and compare with the stored snapshot."""
    found = await recommender.audits.snapshot(user_id)
    caller.charge(request_costs.of_history(found.kept))
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


@router.post(
    "/{user_id}/audit", openapi_extra=needs(KeyScope.READ, bound_user="path"), summary="Audit an answer to a user"
)
async def audit_answer(
    user_id: PathId,
    body: AnswerAuditIn,
    query: Annotated[NoQuery, Query()],
    services: ServicesDep,
    caller: CallerDep,
) -> AnswerAuditOut:
    """Compute an answer again from the events and catalogue it names.

    An item that has changed since in the catalogue is not compared.
    """
    question, answer, recommender = body.question, body.answer, services.recommender
    restrictions = question.question()
    units: float = request_costs.of_items(question.k) + request_costs.of_whole_log()
    if restrictions.request is not None:  # evaluated for the time of the answer, so never cached
        units += request_costs.of_compilation(len(recommender.engine_of(user_id).item_ids))
    prepare(recommender, user_id, Restrictions(None, restrictions.exclude), caller, units)
    given = GivenAnswer(
        model_version=answer.model_version,
        sequence=answer.sequence,
        items=[(item.item_id, item.score) for item in answer.items],
        query=TopK(question.k, question.exclude_seen, None, restrictions.exclude, restrictions.exclude_events),
        request=restrictions.request,
        catalogue_revision=answer.catalogue_revision,
        evaluated_at=answer.evaluated_at,
    )
    found = await recommender.audits.answer(user_id, given, services.catalogue.copy, services.catalogue.history)
    return AnswerAuditOut(
        user_id=user_id,
        outcome=found.outcome,
        reason=found.reason,
        changed_items=found.changed_items,
        forbidden_items=list(found.forbidden),
        missing_items=list(found.missing),
        max_relative_error=found.max_relative_error,
    )


@router.post(
    "/{user_id}/merge",
    openapi_extra=needs(KeyScope.APPEND, KeyScope.ERASE),
    summary="Merge another user into this one",
)
async def merge_user(
    user_id: PathId,
    merge: MergeIn,
    query: Annotated[NoQuery, Query()],
    recommender: RecommenderDep,
    caller: CallerDep,
) -> MergedOut:
    """Move another user's events into this user's log.

    The events are ordered by their timestamps, and the other user is deleted. From then on the history counts as one.
    Events behind the first inserted event get new sequence numbers. The request can be repeated. After a 503 it must
    be repeated: until then the other user's events may be in neither log.
    """
    merged = await recommender.merge_user(user_id, merge.from_user_id)
    caller.charge(request_costs.of_merge(merged.moved))
    return MergedOut(
        user_id=user_id,
        from_user_id=merge.from_user_id,
        moved_events=merged.moved,
        duplicate_events=merged.duplicates,
        conflicting_events=merged.conflicts,
        sequence=merged.sequence,
        repeated=merged.repeated,
    )


@router.delete("/{user_id}", openapi_extra=needs(KeyScope.ERASE), summary="Delete a user")
async def delete_user(
    user_id: PathId, query: Annotated[NoQuery, Query()], recommender: RecommenderDep
) -> UserDeletedOut:
    """Delete everything about the user.

    The request can be repeated; then it deletes 0 events. If a merge into this user has failed, delete the other user
    too. Otherwise the unfinished merge adds that user's events later and so creates this user again.
    """
    return UserDeletedOut(user_id=user_id, deleted_events=await recommender.delete_user(user_id))


@router.delete("/{user_id}/events/{event_id}", openapi_extra=needs(KeyScope.ERASE), summary="Delete an event")
async def delete_event(
    user_id: PathId, event_id: PathId, query: Annotated[NoQuery, Query()], recommender: RecommenderDep
) -> EventDeletedOut:
    """Delete one event, as if it had never been recorded.

    An event that was sent without an id is named `seq-<sequence>`.
    """
    await recommender.delete_event(user_id, event_id)
    return EventDeletedOut(user_id=user_id, event_id=event_id, deleted=True)

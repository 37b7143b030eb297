"""How far the rebuild of memos is that runs in the background after a change of model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from service.api.dependencies import Running
from service.api.schemas.requests import NoQuery
from service.api.scopes import needs
from service.api_keys import KeyScope
from service.core.jobs.backfill_progress_record import Progress, list_backfills

router = APIRouter(prefix="/v1", tags=["model"])


class BackfillOut(BaseModel):
    """The rebuild of one model's memos by all workers. `share` is of the users, in this `walk` over them.

    A walk that finds memos missing or behind is followed by another, which is quick where there are none.
    `ended` is null while it runs.
    """

    model_version: str
    running: bool
    share: float
    walk: int
    users: int
    snapshots: int
    events: int
    begun: datetime
    ended: datetime | None


class BackfillsOut(BaseModel):
    """Rebuilds of memos, the one begun last first."""

    backfills: list[BackfillOut]


@router.get("/admin/backfills", openapi_extra=needs(KeyScope.ADMIN))
async def backfills(query: Annotated[NoQuery, Query()], services: Running) -> BackfillsOut:
    """How far the rebuild of memos is, of each model that is served or was lately; needs an API key."""
    found = await list_backfills(services.store)
    return BackfillsOut(backfills=[_out(version, progress) for version, progress in found.items()])


def _out(version: str, progress: Progress) -> BackfillOut:
    return BackfillOut(
        model_version=version,
        running=progress.ended_at is None,
        share=round(progress.fraction_done, 4),
        walk=progress.pass_number,
        users=progress.total_users,
        snapshots=progress.snapshots,
        events=progress.events,
        begun=datetime.fromtimestamp(progress.started_at, UTC),
        ended=None if progress.ended_at is None else datetime.fromtimestamp(progress.ended_at, UTC),
    )

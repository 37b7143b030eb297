"""Route for the progress of backfills."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from service.api.dependencies import ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.model_responses import BackfillOut, BackfillsOut
from service.api.schemas.requests import NoQuery
from service.api_keys import KeyScope
from service.core.jobs.backfill_progress_record import Progress, list_backfills

router = APIRouter(prefix="/v1", tags=["model"])


@router.get("/admin/backfills", openapi_extra=needs(KeyScope.ADMIN), summary="List backfills")
async def list_model_backfills(query: Annotated[NoQuery, Query()], services: ServicesDep) -> BackfillsOut:
    """Return the progress of each served or recent model version's backfill.

    A backfill computes the users' snapshots in the background after the model version has changed.
    """
    found = await list_backfills(services.store)
    return BackfillsOut(backfills=[_backfill_out(version, progress) for version, progress in found.items()])


def _backfill_out(version: str, progress: Progress) -> BackfillOut:
    return BackfillOut(
        model_version=version,
        running=progress.ended_at is None,
        fraction_done=round(progress.fraction_done, 4),
        pass_number=progress.pass_number,
        users=progress.total_users,
        snapshots=progress.snapshots,
        events=progress.events,
        started_at=datetime.fromtimestamp(progress.started_at, UTC),
        ended_at=None if progress.ended_at is None else datetime.fromtimestamp(progress.ended_at, UTC),
    )

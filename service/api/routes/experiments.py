"""Route for experiments: what recommendations earned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api.answers import json_response
from service.api.dependencies import ServicesDep
from service.api.route_scopes import needs
from service.api.schemas.experiment_responses import (
    ArmOut,
    CountsOut,
    ExperimentOut,
    ExperimentsOut,
    PositionOut,
    RateOut,
    RatesOut,
    UpliftOut,
    UpliftsOut,
    VersionEarnedOut,
)
from service.api.schemas.requests import NoQuery
from service.api.work_thread import encode_long, in_work_thread
from service.api_keys import KeyScope
from service.core.attribution.attribution import running_experiment
from service.core.attribution.credits import Counts, ShardCounts
from service.observability.experiment_results import (
    ExperimentResult,
    Rate,
    Uplift,
    VersionResult,
    experiment_results,
    version_results,
)

router = APIRouter(prefix="/v1", tags=["model"])


@router.get(
    "/admin/experiments",
    openapi_extra=needs(KeyScope.ADMIN),
    response_model=ExperimentsOut,
    summary="Show what recommendations earned",
)
async def list_experiments(query: Annotated[NoQuery, Query()], services: ServicesDep) -> Response:
    """Return counted events and rates by model version, and of A/B tests.

    Counted are events that carry the recommendation id of an answer. All intervals and tests hold however often they
    are looked at.
    """
    shards = await services.counters.read()
    live, running = services.models.live.version, running_experiment(services.models)
    return json_response(await in_work_thread(_encode, shards, live, running))


def _encode(shards: list[ShardCounts], live: str, running: str) -> bytes:
    experiments = [_experiment_out(result, running) for result in experiment_results(shards, live)]
    versions = [_version_out(result) for result in version_results(shards)]
    return encode_long({"experiments": experiments, "versions": versions}, "versions")


def _version_out(result: VersionResult) -> VersionEarnedOut:
    return VersionEarnedOut(
        model_version=result.model_version,
        counts=_counts_out(result.counts),
        rates=_rates_out(result.rates),
        positions=[
            PositionOut(position=position, **_counts_out(counts).model_dump())
            for position, counts in result.positions.items()
        ],
    )


def _experiment_out(result: ExperimentResult, running: str) -> ExperimentOut:
    versions = [
        ArmOut(
            model_version=version,
            counts=_counts_out(counts),
            rates=_rates_out(result.rates[version]),
            uplift=_uplifts_out(result.uplifts[version]) if version in result.uplifts else None,
        )
        for version, counts in result.counts.items()
    ]
    return ExperimentOut(experiment=result.experiment, running=result.experiment == running, versions=versions)


def _counts_out(counts: Counts) -> CountsOut:
    return CountsOut(
        impressions=counts.impressions, clicks=counts.clicks, conversions=counts.conversions, value=counts.value
    )


def _rates_out(rates: Mapping[str, Rate | None]) -> RatesOut:
    return RatesOut(**{name: None if rate is None else _rate_out(rate) for name, rate in rates.items()})


def _rate_out(rate: Rate) -> RateOut:
    low, high = rate.interval
    return RateOut(value=rate.value, low=low, high=high)


def _uplifts_out(uplifts: Mapping[str, Uplift | None]) -> UpliftsOut:
    return UpliftsOut(**{name: None if uplift is None else _uplift_out(uplift) for name, uplift in uplifts.items()})


def _uplift_out(uplift: Uplift) -> UpliftOut:
    return UpliftOut(
        value=uplift.value,
        low=uplift.low,
        high=uplift.high,
        p_value=uplift.p_value,
        decision=uplift.decision.value,
    )

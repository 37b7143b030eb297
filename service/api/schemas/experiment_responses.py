"""Response bodies of the route about experiments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

_Position = Annotated[int, Field(description="Position of the item in the answer, from 1.")]


class CountsOut(BaseModel):
    """Counted events."""

    impressions: int = Field(description="Events of the type `impression`, by their weight if ids are sampled.")
    clicks: int = Field(description="Events of any other type but `dislike`.")
    conversions: int = Field(description="Events of the conversion type.")
    value: float = Field(description="Sum of the values of the conversions.")


class PositionOut(CountsOut):
    """Counted events of one position."""

    position: _Position


class RateOut(BaseModel):
    """A rate with an interval."""

    value: float = Field(description="The rate.")
    low: float = Field(description="Lower end of the interval: it holds the true rate with 95 %, at every look.")
    high: float = Field(description="Upper end of the interval.")


class RatesOut(BaseModel):
    """Rates; null: not known yet."""

    click_rate: RateOut | None = Field(description="Clicks per impression.")
    conversion_rate: RateOut | None = Field(description="Conversions per impression.")
    value_per_impression: RateOut | None = Field(description="Value per impression.")


class VersionEarnedOut(BaseModel):
    """Earnings of the answers of one model version."""

    model_version: str = Field(description="Model version of the answers.")
    counts: CountsOut = Field(description="All counted events.")
    rates: RatesOut = Field(description="Rates of all counted events.")
    positions: list[PositionOut] = Field(description="Counted events by position.")


class UpliftOut(BaseModel):
    """Comparison with the first version of the experiment."""

    value: float = Field(description="Relative difference of the rates: 0.05 is 5 % more.")
    low: float = Field(description="Lower end of the interval: it holds the true uplift with 95 %, at every look.")
    high: float = Field(description="Upper end of the interval.")
    p_value: float = Field(description="Always-valid p-value; below 0.05 the test decides.")
    decision: Literal["undecided", "better", "worse"] = Field(description="Outcome of the test at this look.")


class UpliftsOut(BaseModel):
    """Comparisons by rate; null: a rate is not known yet."""

    click_rate: UpliftOut | None = Field(description="Of clicks per impression.")
    conversion_rate: UpliftOut | None = Field(description="Of conversions per impression.")
    value_per_impression: UpliftOut | None = Field(description="Of value per impression.")


class ArmOut(BaseModel):
    """Earnings of one version in an A/B test."""

    model_version: str = Field(description="Model version of the answers.")
    counts: CountsOut = Field(description="Counted events of answers that were given during the test.")
    rates: RatesOut = Field(description="Rates of these events.")
    uplift: UpliftsOut | None = Field(description="Comparison with the first version. Null: it is the first.")


class ExperimentOut(BaseModel):
    """An A/B test with one share."""

    experiment: str = Field(description="Name of the test. Another share makes another test.")
    running: bool = Field(description="Whether the test runs now.")
    versions: list[ArmOut] = Field(description="The versions; the live one first, if it takes part, else the oldest.")


class ExperimentsOut(BaseModel):
    """Earnings of recommendations."""

    versions: list[VersionEarnedOut] = Field(description="All model versions with counted events, newest first.")
    experiments: list[ExperimentOut] = Field(description="A/B tests with counted events.")

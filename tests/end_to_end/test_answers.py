"""Every answer is the replay of the log up to its sequence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from model.bundle.bundle import load_bundle, write_bundle
from model.config import ModelConfig
from service.api.dependencies import Services
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.core.events import AppendAndRead, NewEvent, SnapshotPut
from service.core.ports import Engine
from service.core.recommending.results import Answer
from service.engine import BundleLoader
from service.main import open_services
from service.observability.metrics import PrometheusMeter
from service.settings import Settings
from tests.model.builders import bundle_of
from tests.servers import RedisServer

pytestmark = pytest.mark.anyio

WRITERS, EVENTS_PER_WRITER, ITEMS = 32, 6, 40
TOP_5 = TopK(5, exclude_seen=False)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> Settings:
    write_bundle(tmp_path / "bundle", bundle_of(ModelConfig(items=ITEMS, dim=8), seed=5))
    url = f"sqlite:///{tmp_path}/log.db" if request.param == "sqlite" else redis.url
    return Settings(state_url=url, bundle=tmp_path / "bundle")  # type: ignore[arg-type]


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Services, Engine]]:
    folder = BundleLoader(settings.bundle, settings.events_kept)
    engine = await folder.load((await folder.published())[-1].version)
    async with open_services(settings, PrometheusMeter()) as services:
        yield services, engine


def event(item_id: str) -> NewEvent:
    return NewEvent.create(item_id, None, None, now=1.0)


def assert_is_replay(answer: Answer, items: list[str], engine: Engine) -> None:
    """Assert that the answer equals a new replay up to its sequence."""
    (expected,) = engine.run([EngineRequest(None, tuple(items[: answer.sequence]), TOP_5)])
    assert isinstance(expected, EngineResult)
    assert [item.item_id for item in answer.items] == [item.item_id for item in expected.items]
    for found, wanted in zip(answer.items, expected.items, strict=True):
        assert found.score == pytest.approx(wanted.score, rel=1e-4, abs=1e-5)


async def test_answers_to_concurrent_writers_are_replays_of_the_log(settings: Settings) -> None:
    async with running(settings) as (one, engine), open_services(settings, PrometheusMeter()) as other:

        async def write(writer: int) -> list[tuple[int, Answer]]:
            recommender = (one if writer % 2 else other).recommender
            answers = []
            for n in range(EVENTS_PER_WRITER):
                item_id = engine_items[(writer * 7 + n * 3) % ITEMS]
                recorded = await recommender.record("written by many", event(item_id), TOP_5)
                assert recorded.answer is not None
                answers.append((recorded.sequence, recorded.answer))
            return answers

        engine_items = [item.item_id for item in load_bundle(settings.bundle).items]
        written = [pair for pairs in await asyncio.gather(*map(write, range(WRITERS))) for pair in pairs]
        assert sorted(sequence for sequence, _ in written) == list(range(1, WRITERS * EVENTS_PER_WRITER + 1))
        log = await one.recommender.history("written by many", None, 1000)
        items = [entry.item_id for entry in log.events]
        for sequence, answer in written:
            assert answer.sequence >= sequence
            assert_is_replay(answer, items, engine)


async def test_damaged_snapshot_is_replaced_and_never_served(settings: Settings) -> None:
    async with running(settings) as (services, engine):
        recommender, store = services.recommender, services.store
        items = [item.item_id for item in load_bundle(settings.bundle).items][:9]
        for item_id in items:
            await recommender.record("damaged", event(item_id), None)
        await recommender.close()
        (view,) = await store.append_and_read([AppendAndRead("damaged", engine.version)])
        assert not isinstance(view, Exception)
        assert view.snapshot is not None
        for position in (0, 5, 30, len(view.snapshot) - 1):
            blob = bytearray(view.snapshot)
            blob[position] ^= 4
            damaged = SnapshotPut("damaged", view.generation, engine.version, 9, bytes(blob), repair=True)
            assert await store.put_snapshots([damaged]) == [True]
            assert (await recommender.audits.snapshot("damaged")).snapshot == "damaged"
            assert_is_replay(await recommender.recommend("damaged", TOP_5), items, engine)
            await recommender.close()
            audit = await recommender.audits.snapshot("damaged")
            assert (audit.snapshot, audit.exact) == ("found", True)
            assert audit.max_relative_error is not None
            assert audit.max_relative_error <= 1e-5


async def test_deleted_event_no_longer_affects_answers(settings: Settings) -> None:
    async with running(settings) as (services, engine):
        recommender = services.recommender
        items = [item.item_id for item in load_bundle(settings.bundle).items][:6]
        for item_id in items:
            await recommender.record("undone", event(item_id), TOP_5)
        await recommender.delete_event("undone", "seq-3")
        answer = await recommender.recommend("undone", TOP_5)
        assert answer.sequence == 6
        assert_is_replay(answer, items[:2] + items[3:], engine)
        await recommender.delete_user("undone")
        cold = await recommender.recommend("undone", TOP_5)
        assert (cold.cold, cold.sequence) == (True, 0)
        assert_is_replay(cold, [], engine)


async def test_event_with_unknown_item_counts_after_rollout_to_model_that_knows_it(
    settings: Settings, tmp_path: Path
) -> None:
    bundles, newcomer = tmp_path / "bundles", f"i{ITEMS + 1}"
    write_bundle(bundles / "v1", bundle_of(ModelConfig(items=ITEMS, dim=8), seed=5, version="v1"))
    async with running(settings.model_copy(update={"bundle": bundles})) as (services, old):
        recommender = services.recommender
        before = await recommender.record("early", event("i3"), TOP_5)
        unknown = await recommender.record("early", event(newcomer), TOP_5)
        assert (before.known_item, unknown.known_item) == (True, False)
        assert before.answer is not None
        assert unknown.answer is not None
        assert (unknown.answer.sequence, unknown.answer.items) == (2, before.answer.items)
        await recommender.record("early", event("i7"), TOP_5)
        await recommender.record("only unknown", event(newcomer), TOP_5)
        assert (await recommender.recommend("only unknown", TOP_5)).cold

        write_bundle(
            bundles / "v2", bundle_of(ModelConfig(items=ITEMS + 1, dim=8), seed=6, version="v2", created="2026-02-01")
        )
        new = await services.models.reload(None)
        assert (old.version, new.version) == ("v1", "v2")
        answer = await recommender.recommend("early", TOP_5)
        assert (answer.model_version, answer.sequence) == ("v2", 3)
        assert_is_replay(answer, ["i3", newcomer, "i7"], new)
        (without,) = new.run([EngineRequest(None, ("i3", "i7"), TOP_5)])
        assert isinstance(without, EngineResult)
        assert [item.score for item in answer.items] != pytest.approx(
            [item.score for item in without.items], rel=1e-3
        )
        again = await recommender.record("early", event(newcomer), TOP_5)
        assert (again.known_item, again.sequence) == (True, 4)
        assert again.answer is not None
        assert_is_replay(again.answer, ["i3", newcomer, "i7", newcomer], new)
        warm = await recommender.recommend("only unknown", TOP_5)
        assert (warm.cold, warm.sequence) == (False, 1)
        assert_is_replay(warm, [newcomer], new)

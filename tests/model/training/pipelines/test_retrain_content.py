"""The nightly job with a catalogue in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.errors import DataError
from model.bundle.bundle import load_bundle
from model.content.item_content import ItemContent
from model.training.pipelines import retrain
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import ItemWrite
from service.core.ports import Store
from tests.model.training.logs import append, use
from tests.model.training.pipelines.retrain_harness import run_retrain
from tests.store.backends import SqliteBackend

ITEMS = 30


@pytest.fixture
def log(tmp_path: Path) -> SqliteBackend:
    backend = SqliteBackend(tmp_path / "events.db")
    walk = [(f"user {u}", f"item {(u + n) % ITEMS}", 1000.0 * n + u) for n in range(16) for u in range(30)]
    append(backend, walk)
    return backend


def put(log: SqliteBackend, items: list[Item]) -> None:
    async def work(store: Store) -> None:
        await store.catalogue.write_items([ItemWrite(item.item_id, to_record(item)) for item in items])

    use(log, work)


def test_published_refit_has_an_encoder_of_the_catalogue(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(log, [Item(f"item {n}", f"title {n % 5}", (f"kind {n % 3}",)) for n in range(ITEMS + 10)])
    code, result, _ = run_retrain(tmp_path, capsys)
    assert (code, result["published"]) == (0, True)
    bundle = load_bundle(tmp_path / "bundles" / result["version"])
    assert bundle.content is not None
    assert bundle.content.encode(ItemContent("title 2", ("kind 1",))) is not None
    assert bundle.content.encode(ItemContent("nothing known")) is None
    assert bundle.training_data["content"]["items"] == ITEMS


@pytest.mark.parametrize("count", [0, 5])
def test_night_without_enough_content_publishes_a_model_without_encoder(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    put(log, [Item(f"item {n}", "title") for n in range(count)])
    code, result, errors = run_retrain(tmp_path, capsys)
    assert (code, result["published"]) == (0, True)
    assert load_bundle(tmp_path / "bundles" / result["version"]).content is None
    assert ("only 5 trained items have content" in errors) is (count == 5)


def test_night_whose_catalogue_cannot_be_read_publishes_a_model_without_encoder(
    log: SqliteBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(state_url: str) -> None:
        raise DataError("redis://host cannot be read: no permission for hscan")

    monkeypatch.setattr(retrain, "read_stored_contents", refuse)
    code, result, errors = run_retrain(tmp_path, capsys)
    assert (code, result["published"]) == (0, True)
    assert load_bundle(tmp_path / "bundles" / result["version"]).content is None
    assert "trained without content: redis://host cannot be read: no permission for hscan" in errors

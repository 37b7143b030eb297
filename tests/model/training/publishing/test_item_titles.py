"""Titles of a table, in a bundle and in later versions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.errors import DataError
from ingest.read_options import ReadOptions
from ingest.reading.item_table import ItemTableOptions
from model.bundle.bundle import BundleError, load_bundle, write_bundle
from model.config import ModelConfig
from model.training.__main__ import main
from model.training.publishing.item_titles import add_titles
from model.training.publishing.registry import publish
from service.core.engine_requests import EngineRequest, ScoredItem, TopK
from service.engine.cpu.cpu_engine import CpuEngine
from tests.model.builders import bundle_of

MOVIES = """\
i1::Misérables, Les (1995)::Drama|Musical
i2::Père Noël: ¿Qué? (1994)::Comedy
not in the bundle::Unknown (1990)::Horror
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "source", bundle_of(ModelConfig(items=12, dim=8), version="v7"))
    return tmp_path / "source"


def movies(folder: Path, text: str = MOVIES) -> Path:
    path = folder / "movies.dat"
    path.write_bytes(text.encode("latin-1"))
    return path


LATIN = ItemTableOptions(ReadOptions(encoding="latin-1"))


def test_items_in_the_file_get_titles_and_nothing_else_changes(tmp_path: Path, source: Path) -> None:
    returned, titled = add_titles(source, movies(tmp_path), LATIN, tmp_path / "out")
    old, new = load_bundle(source), load_bundle(tmp_path / "out")
    assert titled == 2
    assert [(item.title, item.categories) for item in new.items[:2]] == [
        ("Misérables, Les (1995)", ("Drama", "Musical")),
        ("Père Noël: ¿Qué? (1994)", ("Comedy",)),
    ]
    assert new.items[2:] == old.items[2:]
    assert "Title 3" in [item.title for item in new.items]  # an item that the file lacks keeps its title
    assert [(i.item_id, i.popularity) for i in new.items] == [(i.item_id, i.popularity) for i in old.items]
    assert new.config == old.config
    assert new.version != "v7"
    assert new.created > old.created
    assert (new.metrics, new.training_data) == (old.metrics, old.training_data)
    assert returned.items == new.items
    assert new.weights.keys() == old.weights.keys()
    for name, array in old.weights.items():
        np.testing.assert_array_equal(new.weights[name], array)


def test_answers_have_the_titles_and_states_stay_valid(tmp_path: Path, source: Path) -> None:
    add_titles(source, movies(tmp_path), LATIN, tmp_path / "out")
    untitled, titled = (CpuEngine(load_bundle(folder), 100) for folder in (source, tmp_path / "out"))

    def answer(engine: CpuEngine, state: bytes | None, *items: str) -> tuple[bytes, dict[str, ScoredItem]]:
        (result,) = engine.run([EngineRequest(state, items, TopK(12, exclude_seen=False))])
        assert not isinstance(result, Exception)
        return result.state, {item.item_id: item for item in result.items}

    state, _ = answer(untitled, None, "i3", "i1")
    _, found = answer(titled, state, "i5")
    _, before = answer(untitled, state, "i5")
    assert (found["i1"].title, found["i1"].categories) == ("Misérables, Les (1995)", ("Drama", "Musical"))
    assert (found["i4"].title, found["i4"].categories) == (None, ("a", "b"))
    assert {name: item.score for name, item in found.items()} == {name: item.score for name, item in before.items()}
    similar = {item.item_id: item for item in titled.similar("i1", 11)}
    assert (similar["i2"].title, similar["i2"].categories) == ("Père Noël: ¿Qué? (1994)", ("Comedy",))


@pytest.mark.parametrize("line", ["i3::no genre", "i3::Drama::a title::Comedy", "i3,title,genre"])
def test_malformed_line_raises_with_its_number(tmp_path: Path, source: Path, line: str) -> None:
    table = movies(tmp_path, MOVIES + line + "\n" + MOVIES)
    with pytest.raises(DataError, match=r"movies\.dat:4 has \d fields instead of 3"):
        add_titles(source, table, LATIN, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_latin_1_is_refused_without_the_option(tmp_path: Path, source: Path) -> None:
    with pytest.raises(DataError, match=r"is not UTF-8.*--encoding"):
        add_titles(source, movies(tmp_path), ItemTableOptions(), tmp_path / "out")


def test_missing_empty_or_foreign_table_raises(tmp_path: Path, source: Path) -> None:
    with pytest.raises(DataError, match=r"movies\.dat cannot be read"):
        add_titles(source, tmp_path / "movies.dat", LATIN, tmp_path / "out")
    with pytest.raises(DataError, match=r"movies\.dat is empty"):
        add_titles(source, movies(tmp_path, ""), LATIN, tmp_path / "out")
    with pytest.raises(DataError, match="holds no item of"):
        add_titles(source, movies(tmp_path, "x::y::z\n"), LATIN, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_version_keeps_the_titles_of_the_live_one(tmp_path: Path, source: Path) -> None:
    registry = tmp_path / "models"
    titled, _ = add_titles(source, movies(tmp_path), LATIN, registry / "titled")
    created = "2999-01-01T00:00:00+00:00"
    retrained = replace(bundle_of(ModelConfig(items=14, dim=8), version="v8"), created=created)
    bare = replace(retrained, items=[replace(item, title=None, categories=()) for item in retrained.items])
    write_bundle(tmp_path / "run", bare)
    publish(registry, tmp_path / "run")
    found = load_bundle(registry / "v8").items
    assert [(item.title, item.categories) for item in found[:12]] == [
        (item.title, item.categories) for item in titled.items
    ]
    assert [item.title for item in found[12:]] == [None, None]
    assert [item.popularity for item in found] == [item.popularity for item in bare.items]


def test_existing_folder_is_not_overwritten(tmp_path: Path, source: Path) -> None:
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(BundleError, match="exists already"):
        add_titles(source, movies(tmp_path), LATIN, source)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before


def test_command_prints_its_result(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["titles", str(source), str(movies(tmp_path)), "--encoding", "latin-1"]
    arguments += ["--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    version = load_bundle(tmp_path / "out").version
    assert json.loads(capsys.readouterr().out) == {"bundle": str(tmp_path / "out"), "version": version, "titled": 2}
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/out exists already; choose another folder\n"


def test_unsigned_bundle_is_not_signed(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECBLR_BUNDLE_KEY", "k" * 32)
    with pytest.raises(BundleError, match="not signed"):
        add_titles(source, movies(tmp_path), LATIN, tmp_path / "out")

"""Engines with appended items, against such with all of them trained."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, Query, RankCandidates, TopK
from service.core.errors import ItemNotFound, StateDamagedError
from service.engine.cpu.cpu_engine import CpuEngine
from tests.engine.conftest import ids, run
from tests.engine.cuda.comparison import assert_same_results
from tests.engine.extended import Vectors, append, everything, new_vectors, whole_bundle, with_encoder
from tests.model.builders import CONFIGS, bundle_of

CONFIG = CONFIGS["default"]
TRAINED = len(bundle_of(CONFIG).items)


def extended_engine(vectors: Vectors, parts: tuple[int, ...] = ()) -> CpuEngine:
    engine = CpuEngine(with_encoder(bundle_of(CONFIG, seed=4)), 100)
    append(engine, vectors, parts)
    return engine


@settings(max_examples=30, deadline=None)
@given(
    config=st.sampled_from([CONFIG, CONFIGS["deep"], CONFIGS["odd"], CONFIGS["typed"]]),
    trained=st.integers(1, 130),
    appended=st.integers(1, 700),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    data=st.data(),
)
def test_answers_equal_those_of_an_engine_that_was_loaded_with_the_items(
    config: ModelConfig, trained: int, appended: int, share: float, data: st.DataObject
) -> None:
    bundle = bundle_of(replace(config, items=trained), seed=4)
    vectors = new_vectors(appended, config.dim)
    if data.draw(st.booleans()):  # equal scores, also of trained items
        vectors[: appended // 2] = bundle.weights["item_embedding.weight"][trained]
    engine, whole = CpuEngine(with_encoder(bundle), 20), CpuEngine(whole_bundle(bundle, vectors), 20)
    append(engine, vectors, data.draw(st.lists(st.integers(0, appended // 4), max_size=3)))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    mask = draw.random(trained + appended + 1) < share
    full = trained if mask[1 : trained + 1].all() else 0
    allowed = AllowedRows.of(mask)
    filters = [everything(engine), allowed, AllowedRows(allowed.bitmap, allowed.count, full=full)]

    def history() -> tuple[str, ...]:
        return tuple(f"i{row}" for row in draw.integers(1, trained + appended + 2, draw.integers(0, 30)))

    requests = []
    for n in range(10):
        query: Query = TopK(int(draw.integers(0, trained + appended + 5)), n % 2 == 0, filters[n % 3], history())
        if n % 5 == 4:
            query = RankCandidates((*history(), "nobody"), filters[n % 3], history())
        items = history()
        evaluated = [at for at, item in enumerate(items) if engine.knows(item)][:2] if n % 3 == 0 else []
        types = tuple(draw.choice(["view", "t1", "t4", "of no rule"], len(items))) if config.event_types else ()
        requests.append(EngineRequest(None, items, query, tuple(evaluated), types))
    assert_same_results(engine, whole, requests)
    later = []
    for request, result in zip(requests, whole.run(requests), strict=True):
        assert isinstance(result, EngineResult)
        later.append(request._replace(state=result.state))
    assert_same_results(engine, whole, later)
    for item in (f"i{trained}", f"i{trained + appended}"):
        for rows in filters:
            left_out = history()[:3]
            found, wanted = (each.similar(item, 20, rows, left_out) for each in (engine, whole))
            assert [entry.score for entry in found] == pytest.approx([entry.score for entry in wanted], abs=1e-5)
        found, wanted = (each.similar(item, 20, filters[1], ("i1",)) for each in (engine, whole))
        assert ids(found) == ids(wanted)


def test_appended_items_need_rows_that_name_them() -> None:
    engine = extended_engine(100 * new_vectors(10, CONFIG.dim))
    before = CpuEngine(bundle_of(CONFIG, seed=4), 100)
    history = ("i3", "i7")
    for allowed in (None, AllowedRows.of(np.ones(TRAINED + 1, np.bool_))):
        query = TopK(100, exclude_seen=False, allowed=allowed)
        assert run(engine, history, query).items == run(before, history, query).items
        assert engine.similar("i1", 100, allowed) == before.similar("i1", 100, allowed)
        candidates = RankCandidates(("i2", f"i{TRAINED + 1}"), allowed)
        eligible = {item.item_id: item.eligible for item in run(engine, history, candidates).items}
        assert eligible == {"i2": True, f"i{TRAINED + 1}": False}
    # A bitmap from before the last items were appended.
    known = AllowedRows.of(np.ones(TRAINED + 4, np.bool_))
    found = run(engine, history, TopK(100, exclude_seen=False, allowed=known)).items
    assert len(found) == TRAINED + 3


def test_known_items_are_trained_and_appended_ones() -> None:
    engine = extended_engine(new_vectors(3, CONFIG.dim))
    assert engine.extended == 3
    assert [engine.knows(f"i{TRAINED + n}") for n in range(5)] == [True, True, True, True, False]
    assert len(engine.item_ids) == TRAINED
    with pytest.raises(ItemNotFound):
        engine.similar(f"i{TRAINED + 4}", 3)


def test_wrong_items_are_refused_and_nothing_is_appended() -> None:
    engine, good = extended_engine(new_vectors(2, CONFIG.dim)), new_vectors(1, CONFIG.dim)[0]
    bad: list[tuple[int, list[tuple[str, Vectors]]]] = [
        (2, [("new", good)]),
        (4, [("new", good)]),
        (3, [("new", good), ("i1", good)]),
        (3, [("new", good), (f"i{TRAINED + 1}", good)]),
        (3, [("new", good), ("new", good)]),
        (3, [("new", good), ("newer", good[1:])]),
        (3, [("new", good), ("newer", np.full_like(good, np.nan))]),
    ]
    for first, items in bad:
        with pytest.raises(ValueError):
            engine.extend(first, items)
        assert engine.extended == 2
        assert not engine.knows("new")
    engine.extend(3, [("new", good)])
    assert engine.extended == 3
    with pytest.raises(ValueError):
        CpuEngine(bundle_of(CONFIG), 100).extend(1, [("new", good)])


def test_states_that_name_removed_rows_are_refused() -> None:
    engine = extended_engine(new_vectors(5, CONFIG.dim))
    kept, lost = run(engine, ("i1", "i2")).state, run(engine, ("i1", f"i{TRAINED + 5}")).state
    engine.reset_extension()
    assert (engine.extended, engine.knows(f"i{TRAINED + 1}")) == (0, False)
    append(engine, new_vectors(4, CONFIG.dim, seed=8))
    results = engine.run([EngineRequest(state, (), None) for state in (kept, lost)])
    assert [type(result) for result in results] == [EngineResult, StateDamagedError]
    with pytest.raises(StateDamagedError):
        engine.difference(lost, lost)
    assert engine.difference(kept, kept) == 0.0


def test_batches_beside_appends_see_whole_items() -> None:
    """Read while another thread appends: each result is one of some moment."""
    vectors = new_vectors(600, CONFIG.dim)
    engine, whole = extended_engine(vectors[:0]), CpuEngine(whole_bundle(bundle_of(CONFIG, seed=4), vectors), 100)
    expected = {item.item_id: item.score for item in run(whole, ("i1",), TopK(1000, exclude_seen=False)).items}
    query = TopK(1000, False, AllowedRows.of(np.ones(TRAINED + len(vectors) + 1, np.bool_)))
    writer = threading.Thread(target=append, args=(engine, vectors, [1] * (len(vectors) - 1)))
    writer.start()
    counts = []
    while writer.is_alive() or not counts or counts[-1] < len(expected):
        items = run(engine, ("i1",), query).items
        assert {item.item_id for item in items} == {f"i{row}" for row in range(1, len(items) + 1)}
        assert [item.score for item in items] == pytest.approx([expected[item.item_id] for item in items], abs=1e-4)
        counts.append(len(items))
    writer.join()
    assert counts == sorted(counts)
    assert counts[-1] == TRAINED + len(vectors)

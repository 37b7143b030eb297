"""The peers' recommender answers as the engine of the service does."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.peers.peer_settings import BUNDLE
from loadtests.peers.recompute import Recompute
from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from service.core.engine_requests import EngineRequest, EngineResult, TopK
from service.engine.cpu.cpu_engine import CpuEngine
from tests.model.builders import bundle_of


def test_padded_batch_gives_the_top_10_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(ModelConfig(items=40, dim=8), seed=3)
    write_bundle(tmp_path / "bundle", bundle)
    monkeypatch.setenv(BUNDLE, str(tmp_path / "bundle"))
    ids = [item.item_id for item in bundle.items]
    histories = [tuple(ids[:3]), tuple(ids[5:25]), (ids[7],)]
    engine = CpuEngine(bundle, 1000)
    top_10 = TopK(10, exclude_seen=True)
    results = engine.run([EngineRequest(None, history, top_10) for history in histories])
    answers = Recompute().recommend(histories)
    for result, answer in zip(results, answers, strict=True):
        assert isinstance(result, EngineResult)
        assert result.items is not None
        assert [item["item_id"] for item in answer] == [item.item_id for item in result.items]
        scores = [item.score for item in result.items]
        assert [item["score"] for item in answer] == pytest.approx(scores, abs=1e-4)

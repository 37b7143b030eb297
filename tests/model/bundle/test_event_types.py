"""Event types in the manifest of a bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.bundle import event_types
from model.bundle.bundle import BundleError, load_bundle, write_bundle
from model.bundle.event_types import EventType
from model.config import ModelConfig
from service.core.event_fields import DEFAULT_TYPE, EVENT_TYPE
from tests.model.builders import CONFIGS, bundle_of, types_of

DEMO = Path(__file__).parents[3] / "bundles" / "ml-1m-demo"


def test_types_are_read_as_they_were_written_and_in_order(tmp_path: Path) -> None:
    bundle = bundle_of(CONFIGS["typed"])
    assert bundle.event_types is not None
    types = {**bundle.event_types, "t4": EventType("excluded", -0.5, False)}
    write_bundle(tmp_path / "b", replace(bundle, event_types=types))
    loaded = load_bundle(tmp_path / "b")
    assert loaded.event_types == types
    assert list(loaded.event_types or {}) == ["view", "t1", "t2", "t3", "t4"]
    assert loaded.weights["type_embedding.weight"].shape == (5, 12)


def test_bundle_from_before_there_were_types_is_a_model_without_them() -> None:
    demo = load_bundle(DEMO)
    assert demo.event_types is None
    assert demo.config.event_types == 0
    assert "type_embedding.weight" not in demo.weights
    assert demo.config.to_dict() == json.loads((DEMO / "manifest.json").read_text())["config"]


def test_manifest_of_a_model_without_types_has_only_the_entries_of_before(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", bundle_of(CONFIGS["default"]))
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert list(manifest) == ["format", "version", "created", "config", "metrics", "training_data", "files"]
    assert list(manifest["config"]) == ["items", "dim", "expansion", "conv_width", "layers", "start_token"]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        {"view": {}},
        {"view": {"replay": "replayed", "weight": 1.0, "positive": True}},  # too few for the config
        {"cart": {"replay": "replayed", "weight": 1.0, "positive": True}, "view": "same"},
        {name: {"replay": "replayed", "weight": 1.0, "positive": True} for name in ("cart", "view")},
        {name: {"replay": "replayed", "weight": 1.0, "positive": True} for name in ("view", "Cart")},
        {name: {"replay": "ignored", "weight": 1.0, "positive": True} for name in ("view", "cart")},
        {name: {"replay": "often", "weight": 1.0, "positive": True} for name in ("view", "cart")},
        {name: {"replay": "replayed", "weight": True, "positive": True} for name in ("view", "cart")},
        {name: {"replay": "replayed", "weight": 1.0, "positive": 1} for name in ("view", "cart")},
        {name: {"replay": "replayed", "weight": 1.0, "positive": True, "x": 1} for name in ("view", "cart")},
    ],
)
def test_entry_that_does_not_fit_is_refused(tmp_path: Path, entry: Any) -> None:
    config = ModelConfig(items=5, dim=8, event_types=2)
    write_bundle(tmp_path / "b", bundle_of(config))
    path = tmp_path / "b" / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["event_types"] == {name: rule._asdict() for name, rule in (types_of(config) or {}).items()}
    path.write_text(json.dumps(manifest | {"event_types": entry}))
    with pytest.raises(BundleError, match=r"event.types?"):
        load_bundle(tmp_path / "b")


def test_names_are_those_of_the_api() -> None:
    assert event_types._NAME.pattern == EVENT_TYPE
    assert event_types.DEFAULT_TYPE == DEFAULT_TYPE

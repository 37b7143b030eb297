"""Made-up content of items: all kinds of attributes, with gaps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from model.content.item_content import ItemContent

_WORDS = ["red", "blue", "Größe", "shoe", "lamp", "\u0442\u043e\u0432\u0430\u0440", "新しい靴", "x1", "e\u0301clair"]


def made_up_items(count: int, seed: int = 0, *, vectors: bool = True) -> list[ItemContent]:
    rng = np.random.default_rng(seed)
    return [_item(rng, vectors) for _ in range(count)]


def _item(rng: np.random.Generator, vectors: bool) -> ItemContent:
    attributes: dict[str, Any] = {
        "price": float(rng.lognormal(3.0)),
        "new": bool(rng.random() < 0.3),
        "brand": f"brand {rng.integers(12)}",
        "tags": tuple(f"t{tag}" for tag in rng.integers(0, 9, rng.integers(0, 4))),
        "released": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(300))),
        "gone": None,
    }
    kept = {name: value for name, value in attributes.items() if rng.random() < 0.8}
    title = " ".join(rng.choice(_WORDS, rng.integers(0, 5))) if rng.random() < 0.9 else None
    vector = rng.standard_normal(5).astype(np.float32) if vectors and rng.random() < 0.7 else None
    return ItemContent(title, tuple(f"c{c}" for c in rng.integers(0, 6, rng.integers(0, 3))), kept, vector)

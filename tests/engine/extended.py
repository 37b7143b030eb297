"""Engines with appended items, and such with all of them trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle.bundle import Bundle, Item
from model.content.content_encoder import ContentEncoder
from model.content.feature_space import FeatureSpace
from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, ScoredItem
from service.core.errors import StateDamagedError
from service.core.ports import Engine

Vectors = NDArray[np.float32]


def encoder_of(dim: int) -> ContentEncoder:
    """Return an encoder that knows nothing."""
    space = FeatureSpace({}, np.zeros(0, np.uint64), [], np.zeros(0, np.float32), 1.0)
    return ContentEncoder(space, np.zeros((space.columns, dim), np.float32), np.zeros(dim, np.float32))


def new_vectors(count: int, dim: int, seed: int = 7) -> Vectors:
    """Return vectors of about the length of trained ones."""
    values = np.random.default_rng(seed).standard_normal((count, dim)) / np.sqrt(dim)
    vectors: Vectors = values.astype(np.float32)
    return vectors


def with_encoder(bundle: Bundle) -> Bundle:
    return replace(bundle, content=encoder_of(bundle.config.dim))


def whole_bundle(bundle: Bundle, vectors: Vectors, ids: Sequence[str] = ()) -> Bundle:
    """Return the bundle as if all items had been trained."""
    ids = ids or [f"i{len(bundle.items) + 1 + n}" for n in range(len(vectors))]
    items = [*bundle.items, *map(Item, ids)]
    table = np.concatenate([bundle.weights["item_embedding.weight"], vectors])
    config = replace(bundle.config, items=len(items))
    return replace(bundle, config=config, items=items, weights=bundle.weights | {"item_embedding.weight": table})


def append(engine: Engine, vectors: Vectors, parts: Sequence[int] = (), ids: Sequence[str] = ()) -> None:
    """Append vectors, in so large parts and a last one.

    Their ids are those of `builders.bundle_of` by default.
    """
    start, ids = 0, ids or [f"i{len(engine.item_ids) + 1 + n}" for n in range(len(vectors))]
    for end in [*np.cumsum(parts, dtype=int).tolist(), len(vectors)]:
        engine.extend(engine.extended + 1, list(zip(ids[start:end], vectors[start:end], strict=True)))
        start = end


def everything(engine: Engine) -> AllowedRows:
    return AllowedRows.of(np.ones(len(engine.item_ids) + engine.extended + 1, np.bool_))


def split(bundle: Bundle, trained: int) -> tuple[Bundle, Vectors]:
    """Return a bundle without its last items, and their vectors."""
    table = bundle.weights["item_embedding.weight"]
    weights = bundle.weights | {"item_embedding.weight": table[: trained + 1].copy()}
    config = replace(bundle.config, items=trained)
    part = replace(bundle, config=config, items=bundle.items[:trained], weights=weights)
    return with_encoder(part), table[trained + 1 :]


class AllAllowed:
    """Engine of which every question allows all items unless it says otherwise."""

    def __init__(self, engine: Engine) -> None:
        self.wrapped = engine
        self._everything = everything(engine)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    def run(self, requests: Sequence[EngineRequest]) -> list[EngineResult | StateDamagedError]:
        asked = []
        for request in requests:
            query = request.query
            if query is not None and query.allowed is None:
                query = query._replace(allowed=self._everything)
            asked.append(request._replace(query=query))
        return self.wrapped.run(asked)

    def similar(
        self, item_id: str, k: int, allowed: AllowedRows | None = None, exclude: Sequence[str] = ()
    ) -> tuple[ScoredItem, ...]:
        return self.wrapped.similar(item_id, k, allowed or self._everything, exclude)

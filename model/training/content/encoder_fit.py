"""Fit a content encoder to the embedding table of a trained network.

The network is trained by ids alone, as without content, so trained items keep their accuracy. Afterwards the encoder
learns to predict an item's embedding from its content, and new items get what it predicts:

    encoder(content) = scale * (features @ coefficients + mean) + shift * direction

- An embedding is trusted the more, the more events it was trained on: weight n / (n + 10).
- A prediction is shorter than what it predicts, and lies nearer to the mean. Scale and shift correct that. They are
  chosen on events that the network was not trained on, with items that the regression has not seen: each item is
  predicted by the other parts of the items (cross-fitting).
- `direction` is the mean output of the network, so that the shift moves the scores of all new items alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.errors import DataError
from model.content.content_encoder import ContentEncoder
from model.content.feature_space import Features
from model.content.item_content import ItemContent
from model.network import RecBLR
from model.training.content.calibration import Calibration, calibrate, calibration_events
from model.training.content.feature_fit import fit_feature_space
from model.training.content.ridge import SparseFeatures, ridge
from model.training.data.interactions import Interactions

_TRUST_EVENTS = 10.0
_PENALTIES = (0.5, 2.0, 8.0)
_PARTS = 10
MIN_ITEMS = 20  # trained items with content that a fit needs


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Settings chosen on events that the network was not trained on.

    Attributes:
        penalty: ridge penalty of the regression.
        calibration: correction of the predictions.
    """

    penalty: float
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class FittedEncoder:
    """A fitted encoder.

    Attributes:
        encoder: the encoder, with the calibration in its weights.
        settings: for a later fit to a network that was trained on all events.
        facts: figures for the manifest.
    """

    encoder: ContentEncoder
    settings: EncoderSettings
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrainedContent:
    """Content of items by id, and its fitted encoder."""

    contents: Mapping[str, ItemContent]
    fitted: FittedEncoder


def fit_encoder(
    network: RecBLR,
    data: Interactions,
    contents: Mapping[str, ItemContent],
    settings: EncoderSettings | None = None,
) -> FittedEncoder:
    """Fit the encoder of a network.

    Args:
        network: the trained network.
        data: events that it was trained on. Without `settings`, each user's last two were held out.
        contents: content by item id; items without content are left out.
        settings: those of an earlier fit, for a network that was trained on all events.

    Raises:
        DataError: too few of the trained items have content.
    """
    own = [contents.get(item_id, ItemContent()) for item_id in data.item_ids]
    popularity = (data.without_last(2) if settings is None else data).popularity()[1:]
    space = fit_feature_space([content for content, events in zip(own, popularity, strict=True) if events])
    features = [space.features(content) for content in own]
    usable = np.flatnonzero((popularity > 0) & np.array([len(row.columns) > 0 for row in features]))
    if len(usable) < MIN_ITEMS:
        raise DataError(f"only {len(usable)} trained items have content; is the column of item ids the right one?")
    regression = _Regression(features, space.columns, network.item_embedding.weight.detach()[1:], popularity)
    events = calibration_events(network, data)
    figures: dict[str, float] = {}
    if settings is None:
        parts = np.full(len(features), -1)
        parts[usable] = np.random.default_rng(0).permutation(len(usable)) % _PARTS
        for penalty in _PENALTIES:
            found, measured = calibrate(events, regression.table, regression.cross_fit(parts, penalty), parts)
            if settings is None or measured["new"] > figures["new"]:
                settings, figures = EncoderSettings(penalty, found), measured
    assert settings is not None  # noqa: S101 - there is at least one penalty
    scale, shift = settings.calibration.scale, settings.calibration.shift
    coefficients, mean = regression.fit(usable, settings.penalty)
    bias = scale * mean + shift * events.direction
    weights = (scale * coefficients).float().cpu().numpy()
    encoder = ContentEncoder(space, weights, bias.float().cpu().numpy())
    facts = {"items": len(usable), "features": space.columns} | asdict(settings) | {"validation_ndcg@10": figures}
    return FittedEncoder(encoder, settings, facts)


def with_new_items(
    network: RecBLR, fitted: FittedEncoder, contents: Sequence[ItemContent]
) -> tuple[RecBLR, NDArray[np.bool_]]:
    """Return the network with rows of new items.

    Args:
        network: the trained network.
        fitted: its encoder.
        contents: content of all V items, the trained ones first.

    Returns:
        A copy with V rows, and (V + 1,) which rows have a vector; row 0 counts as one.
    """
    trained = network.config.items
    vectors, has_vector = fitted.encoder.encode_all(contents[trained:])
    extended = RecBLR(replace(network.config, items=len(contents)))
    weights = dict(network.state_dict())
    table = weights["item_embedding.weight"]
    weights["item_embedding.weight"] = torch.cat([table, torch.from_numpy(vectors).to(table)])
    extended.load_state_dict(weights)
    known = np.concatenate([np.ones(trained + 1, bool), has_vector])
    return extended.to(table.device).eval(), known


class _Regression:
    """Regression of a table (V, D) on features.

    Items are weighted by their events.
    """

    def __init__(
        self, features: Sequence[Features], columns: int, table: Tensor, popularity: NDArray[np.int64]
    ) -> None:
        self.table = table.double()
        self._features = features
        self._columns = columns
        self._weights = torch.from_numpy(popularity / (popularity + _TRUST_EVENTS)).to(table.device)

    def fit(self, items: NDArray[np.int64], penalty: float) -> tuple[Tensor, Tensor]:
        """Return coefficients (C, D) and mean (D,) of these items."""
        rows = torch.from_numpy(items).to(self.table.device)
        weights, targets = self._weights[rows], self.table[rows]
        mean = (weights[:, None] * targets).sum(0) / weights.sum()
        penalties = torch.full((self._columns,), penalty, dtype=torch.float64, device=self.table.device)
        return ridge(self._sparse(items), targets - mean, weights, penalties), mean

    def cross_fit(self, parts: NDArray[np.int64], penalty: float) -> Tensor:
        """Predict the items of each part from the others.

        Returns (V, D), 0 for items of no part.
        """
        predicted = torch.zeros_like(self.table)
        for part in range(int(parts.max()) + 1):
            coefficients, mean = self.fit(np.flatnonzero((parts >= 0) & (parts != part)), penalty)
            own = np.flatnonzero(parts == part)
            predicted[torch.from_numpy(own).to(self.table.device)] = self._sparse(own).matrix @ coefficients + mean
        return predicted

    def _sparse(self, items: NDArray[np.int64]) -> SparseFeatures:
        return SparseFeatures([self._features[item] for item in items], self._columns, self.table.device)

"""Leave-one-out evaluation: rank each user's last item among all items.

HR, NDCG and MRR at 10 and 20, as in the paper (Liu et al., CIKM 2024). They are computed twice: with the user's seen
items among the candidates, which is the paper's protocol, and without them ("masked").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.errors import DataError
from model.network import RecBLR
from model.ranking_metrics import discounted_gains, hit_rate, mrr, ndcg
from model.training.data.interactions import Interactions
from model.training.evaluation.item_ranking import item_scores, items_ranked_before
from model.training.event_types.type_column import TypeColumn

CUTOFFS = (10, 20)
_MAX_USERS = 1024  # in one forward pass
_MAX_TOKENS = 1 << 18  # in one forward pass; bounds the memory whatever the longest history is


@dataclass(frozen=True, slots=True)
class LeaveOneOutRanks:
    """Rank of each user's last item; 1 is the best.

    Attributes:
        kept: (U,) int64, rank among all items.
        masked: (U,) int64, rank without the user's other seen items; V + 1 if the last item was seen before.
        targets: (U,) int64, row of each user's last item; empty if it is not needed.
        recommended: (V + 1,) bool, rows in any user's 10 best unseen items; empty if it is not needed.
        types: types of the last events; None if the data have only one.
    """

    kept: NDArray[np.int64]
    masked: NDArray[np.int64]
    targets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    recommended: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    types: TypeColumn | None = None

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name, such as `ndcg@10` and `masked_ndcg@10`.

        With types they are those of the last events that are positive, and `type_purchase_ndcg@10` is that of the
        last events that are purchases.
        """
        result = {}
        wanted = slice(None) if self.types is None else self.types.positive[self.types.codes]
        for prefix, ranks in (("", self.kept[wanted]), ("masked_", self.masked[wanted])):
            for cutoff in CUTOFFS:
                result[f"{prefix}hr@{cutoff}"] = hit_rate(ranks, cutoff)
                result[f"{prefix}ndcg@{cutoff}"] = ndcg(ranks, cutoff)
                result[f"{prefix}mrr@{cutoff}"] = mrr(ranks, cutoff)
        return result | self._metrics_by_type()

    def validation_score(self) -> float:
        """Return NDCG@10, weighted by the types of the last events."""
        gains = discounted_gains(self.kept, CUTOFFS[0])
        if self.types is None:
            return float(gains.mean())
        weights = np.maximum(self.types.weights, 0.0)[self.types.codes]
        return float(gains @ weights / max(float(weights.sum()), 1e-9))

    def _metrics_by_type(self) -> dict[str, float]:
        if self.types is None:
            return {}
        result = {}
        for number, (name, rule) in enumerate(self.types.rules.items()):
            own = self.kept[self.types.codes == number]
            if rule.positive and len(own):
                result[f"type_{name}_ndcg@10"], result[f"type_{name}_hr@10"] = ndcg(own, 10), hit_rate(own, 10)
        return result


@torch.no_grad()
def leave_one_out(network: RecBLR, data: Interactions) -> LeaveOneOutRanks:
    """Rank each user's last item, given the events before it.

    Histories of less than two events are skipped.

    Raises:
        DataError: no history has two events.
    """
    lengths = data.lengths
    users = np.flatnonzero(lengths >= 2)
    if not len(users):
        raise DataError("no user has 2 events of items that the model knows: one to start from and one to predict")
    users = users[np.argsort(lengths[users], kind="stable")]
    was_training = network.training
    network.eval()
    found: list[_Ranked] = []
    start = 0
    while start < len(users):
        # Histories of similar length share a forward pass.
        longest = int(lengths[users[min(start + _MAX_USERS, len(users)) - 1]])
        stop = min(start + max(1, min(_MAX_USERS, _MAX_TOKENS // longest)), len(users))
        found.append(_rank_last_items(network, data, users[start:stop]))
        start = stop
    network.train(was_training)
    kept, masked, targets = (np.concatenate(parts) for parts in list(zip(*found, strict=True))[:3])
    types = None if data.types is None else data.types.take(data.offsets[users + 1] - 1)
    recommended = np.zeros(len(data.item_ids) + 1, np.bool_)
    for part in found:
        recommended[part.best.ravel()] = True
    recommended[0] = False  # what a list shorter than 10 is filled with
    return LeaveOneOutRanks(kept, masked, targets, recommended, types)


class _Ranked(NamedTuple):
    """Results of some users.

    Ranks and targets are (B,), the best unseen items (B, 10), filled with row 0.
    """

    kept: NDArray[np.int64]
    masked: NDArray[np.int64]
    targets: NDArray[np.int64]
    best: NDArray[np.int64]


def last_outputs(network: RecBLR, histories: Tensor, lengths: Tensor, types: Tensor | None = None) -> Tensor:
    """Return the output after the last event of each history.

    Args:
        network: the network; a start token is put before each history if the model has one.
        histories: (B, T) int64, rows of the items, padded on the right.
        lengths: (B,) int64, events of each history.
        types: (B, T) int64, types of the events; None: type 0.

    Returns:
        (B, D) outputs.
    """
    if network.config.start_token:
        histories = torch.nn.functional.pad(histories, (1, 0))
        types = None if types is None else torch.nn.functional.pad(types, (1, 0))
        lengths = lengths + 1
    given = {} if types is None else {"types": types}
    outputs, _ = network(histories, None, lengths, **given)
    index = (lengths - 1)[:, None, None].expand(-1, 1, outputs.shape[2])
    last: Tensor = outputs.gather(1, index).squeeze(1)
    return last


def _rank_last_items(network: RecBLR, data: Interactions, users: NDArray[np.int64]) -> _Ranked:
    device = network.item_embedding.weight.device
    lengths = data.lengths[users] - 1
    padded, padded_types = np.zeros((2, len(users), int(lengths.max())), np.int64)
    for line, user in enumerate(users):
        own = slice(data.offsets[user], data.offsets[user + 1] - 1)
        padded[line, : lengths[line]] = data.rows[own]
        if data.types is not None:
            padded_types[line, : lengths[line]] = data.types.codes[own]
    histories = torch.from_numpy(padded).to(device)
    targets = torch.from_numpy(data.rows[data.offsets[users + 1] - 1].astype(np.int64)).to(device)
    types = None if data.types is None else torch.from_numpy(padded_types).to(device)
    outputs = last_outputs(network, histories, torch.from_numpy(lengths).to(device), types)
    scores = item_scores(network, outputs)
    ranked_before = items_ranked_before(scores, targets)
    kept = ranked_before.sum(1) + 1
    seen = torch.zeros_like(ranked_before).scatter_(1, histories, True)
    masked = (ranked_before & ~seen).sum(1) + 1
    target_was_seen = seen.gather(1, targets[:, None]).squeeze(1)
    masked = torch.where(target_was_seen, ranked_before.shape[1], masked)
    best, rows = scores.masked_fill_(seen, -torch.inf).topk(min(CUTOFFS[0], scores.shape[1]))
    rows = torch.where(best > -torch.inf, rows, 0)
    return _Ranked(*(tensor.cpu().numpy() for tensor in (kept, masked, targets, rows)))

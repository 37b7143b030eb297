"""Train a transformer of RecTools and rank each user's last item.

    PYTHON -m loadtests.peers.accuracy.rectools_worker HISTORIES.npz RANKS.npz --model sasrec [--seed 1]

It runs in an environment of its own, because RecTools 0.19 refuses numpy 2 below Python 3.13. So this module imports
nothing else of the project. Histories have the arrays `rows` and `offsets` of `Interactions`; ranks have `kept`,
`masked`, `seconds` and `best_epoch`, in order of the users with at least two events.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Items of an answer; later ones have rank 0.
LIST_LENGTH = 20
_VALIDATE_EVERY = 5  # epochs
_PATIENCE = 4  # validations without improvement
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transformer:
    """A model of RecTools.

    Attributes:
        model: name of its class.
        parameters: parameters of the class.
        gated: whether it has the gated blocks of eSASRec (LiGR) instead of SASRec's.
    """

    model: str
    parameters: dict[str, Any]
    gated: bool = False


_MAX_SESSION = 200  # events of a history that a transformer sees
_COMMON = {"n_blocks": 2, "dropout_rate": 0.2, "lr": 1e-3, "batch_size": 128, "verbose": 0}
_SMALL = _COMMON | {"n_factors": 64, "n_heads": 2}
TRANSFORMERS = {
    "sasrec": Transformer("SASRecModel", _SMALL | {"loss": "softmax"}),
    "gsasrec": Transformer("SASRecModel", _SMALL | {"loss": "gBCE", "n_negatives": 256, "gbce_t": 0.75}),
    "bert4rec": Transformer("BERT4RecModel", _SMALL | {"loss": "softmax"}),
    "esasrec": Transformer(
        "SASRecModel",
        _COMMON | {"n_factors": 256, "n_heads": 4, "loss": "sampled_softmax", "n_negatives": 256},
        gated=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Histories:
    """Histories of all users, as in `Interactions`."""

    rows: I64
    offsets: I64

    @property
    def users(self) -> I64:
        """(U,) users with at least two events."""
        return np.flatnonzero(np.diff(self.offsets) >= 2)

    def targets(self, back: int) -> I64:
        """(U,) items of these users, counted from the end.

        `back` is 1 for the last event. A user who has no such event has item 0.
        """
        index = self.offsets[self.users + 1] - back
        targets: I64 = np.where(index >= self.offsets[self.users], self.rows[index], 0)
        return targets

    def table(self, without_last: int) -> Any:  # noqa: ANN401 - a data frame
        """Return RecTools' table of interactions.

        The position in the history stands for the time.
        """
        import pandas as pd

        lengths = np.diff(self.offsets)
        user = np.repeat(np.arange(len(lengths)), lengths)
        position = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], lengths)
        kept = position < np.repeat(lengths - without_last, lengths)
        times = pd.Timestamp(0) + pd.to_timedelta(position[kept], "s")
        return pd.DataFrame({"user_id": user[kept], "item_id": self.rows[kept], "weight": 1.0, "datetime": times})


def train_and_rank(transformer: Transformer, histories: Histories, seed: int, max_epochs: int) -> dict[str, Any]:
    """Train until validation stops improving; return the best epoch's ranks."""
    from rectools.dataset import Dataset

    model = _create(transformer, seed, int(np.diff(histories.offsets).max()))
    trained, asked = Dataset.construct(histories.table(2)), Dataset.construct(histories.table(1))
    best: dict[str, Any] = {}
    best_gain, seconds, validations = -1.0, 0.0, 0
    for epoch in range(_VALIDATE_EVERY, max(max_epochs, _VALIDATE_EVERY) + 1, _VALIDATE_EVERY):
        started = time.perf_counter()
        model.fit_partial(trained, min_epochs=_VALIDATE_EVERY, max_epochs=_VALIDATE_EVERY)
        seconds += time.perf_counter() - started
        gain = _ndcg(_ranks(model, trained, histories, back=2, without_seen=False))
        print(f"epoch {epoch}: validation ndcg@10 {gain:.4f}, {seconds:.0f} s", file=sys.stderr, flush=True)
        validations += 1
        if gain > best_gain:
            ranks = {
                name: _ranks(model, asked, histories, back=1, without_seen=name == "masked")
                for name in ("kept", "masked")
            }
            best, best_gain, validations = ranks | {"best_epoch": epoch}, gain, 0
        if validations >= _PATIENCE:
            break
    return best | {"seconds": seconds}


def _create(transformer: Transformer, seed: int, longest: int) -> Any:  # noqa: ANN401 - RecTools is not installed here
    import rectools.models
    from pytorch_lightning import seed_everything

    seed_everything(seed)
    parameters = transformer.parameters | {"session_max_len": min(_MAX_SESSION, longest)}
    if transformer.gated:
        from rectools.models.nn.transformers.ligr import LiGRLayers

        parameters["transformer_layers_type"] = LiGRLayers
    return getattr(rectools.models, transformer.model)(**parameters)


def _ranks(model: Any, dataset: Any, histories: Histories, *, back: int, without_seen: bool) -> I64:  # noqa: ANN401
    """Rank an item of each user.

    An unknown user or item has rank 0.
    """
    answers = model.recommend(
        users=histories.users,
        dataset=dataset,
        k=LIST_LENGTH,
        filter_viewed=without_seen,
        on_unsupported_targets="ignore",
    )
    users, items, ranks = (answers[name].to_numpy(np.int64) for name in ("user_id", "item_id", "rank"))
    return ranks_in_answers(users, items, ranks, histories.users, histories.targets(back))


def ranks_in_answers(users: I64, items: I64, ranks: I64, wanted_users: I64, wanted_items: I64) -> I64:
    """Return the rank (U,) of each wanted item.

    An item that is not in its user's answer has rank 0. users, items and ranks (N,) are the rows of all answers.
    """
    width = 1 + int(max(items.max(initial=0), wanted_items.max(initial=0)))
    codes, wanted = users * width + items, wanted_users * width + wanted_items
    order = np.argsort(codes, kind="stable")
    index = np.minimum(np.searchsorted(codes[order], wanted), len(codes) - 1)
    found: I64 = np.where(codes[order][index] == wanted, ranks[order][index], 0)
    return found


def _ndcg(ranks: I64) -> float:
    inside = (ranks > 0) & (ranks <= 10)
    return float((inside / np.log2(1.0 + np.where(inside, ranks, 1))).mean())


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("histories", type=Path, help="file of the histories")
    parser.add_argument("ranks", type=Path, help="file to write")
    parser.add_argument("--model", required=True, choices=list(TRANSFORMERS), help="transformer to train")
    parser.add_argument("--seed", type=int, default=1, help="seed of the training")
    parser.add_argument("--max-epochs", type=int, default=200, help="most passes over the data")
    options = parser.parse_args()
    with np.load(options.histories) as arrays:
        histories = Histories(arrays["rows"].astype(np.int64), arrays["offsets"])
    found = train_and_rank(TRANSFORMERS[options.model], histories, options.seed, options.max_epochs)
    np.savez(options.ranks, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

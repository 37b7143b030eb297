"""A log in time: what stands before a moment is trained on, what stands after it is asked.

The time of an event is its timestamp, but never earlier than that of the event before it in the user's history
(clients state timestamps; the order of a history is the order of arrival). What is held out is therefore always the
newest end of a history, and no later event can tell what an earlier one was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from model.network import RecBLR
from model.training.data import Interactions
from model.training.errors import DataError
from model.training.ranking import Questions, mean_hit, mean_ndcg, rank_next


@dataclass(frozen=True, slots=True)
class Timeline:
    """All histories with their times.

    items    (N,) index into `item_ids` of every event; user u's are items[offsets[u]:offsets[u + 1]], oldest first
    times    (N,) Unix seconds, not decreasing within a user
    offsets  (U + 1,)
    """

    items: NDArray[np.int64]
    times: NDArray[np.float64]
    offsets: NDArray[np.int64]
    item_ids: Sequence[str]
    user_ids: Sequence[str]

    def cut(self, fraction: float, hours: float | None) -> float:
        """The moment from which events are held out: the newest `fraction` of all, or with `hours` the newest ones.

        Events of one time stay together, so a little more than the fraction may be held out.
        """
        newest = np.sort(self.times)
        if hours is not None:
            return float(newest[-1] - hours * 3600.0)
        return float(newest[len(newest) - max(1, round(len(newest) * fraction))])

    def before(self, moment: float) -> Interactions:
        """The histories up to `moment` (exclusive), of the users and items that have any."""
        kept = self.times < moment
        per_user = np.add.reduceat(np.append(kept, False), self.offsets[:-1], dtype=np.int64)
        per_user[np.diff(self.offsets) == 0] = 0
        appearing = np.unique(self.items[kept])
        row_of = np.zeros(len(self.item_ids), np.int32)
        row_of[appearing] = np.arange(1, len(appearing) + 1)
        users = np.flatnonzero(per_user)
        return Interactions(
            rows=row_of[self.items[kept]],
            offsets=np.concatenate([[0], np.cumsum(per_user[users])]),
            item_ids=[self.item_ids[item] for item in appearing.tolist()],
            user_ids=[self.user_ids[user] for user in users.tolist()],
        )

    def last_time_before(self, moment: float) -> float:
        """The time of the newest event before `moment`."""
        return float(self.times[self.times < moment].max())

    def asked_after(self, moment: float, at_most: int) -> NDArray[np.bool_]:
        """(N,) which events are asked: those after `moment`, and of these the newest, about `at_most`."""
        later = np.sort(self.times[self.times > moment])
        if len(later) > at_most:
            moment = max(moment, float(np.nextafter(later[-at_most], -np.inf)))
        result: NDArray[np.bool_] = self.times > moment
        return result


def read_timeline(folder: Path) -> Timeline:
    """The histories of an exported log; raises `DataError`."""
    columns = ["user_id", "item_id", "timestamp", "sequence"]
    try:
        parts = sorted(folder.glob("*.parquet"))
        tables = [pyarrow.parquet.read_table(part, columns=columns, partitioning=None) for part in parts]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{folder} cannot be read: {error}") from None
    if not sum(len(table) for table in tables):
        raise DataError("the log holds no events; there is nothing to train on")
    table = pa.concat_tables(tables)
    users, items = (table[name].combine_chunks().dictionary_encode() for name in columns[:2])
    codes = users.indices.to_numpy()
    order = np.lexsort((table["sequence"].to_numpy(), codes))
    codes = codes[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(users.dictionary)))])
    return Timeline(
        items=items.indices.to_numpy()[order].astype(np.int64),
        times=_running_maximum(table["timestamp"].to_numpy()[order], codes),
        offsets=offsets.astype(np.int64),
        item_ids=items.dictionary.to_pylist(),
        user_ids=users.dictionary.to_pylist(),
    )


def _running_maximum(times: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The newest time so far within each user, whose codes do not decrease."""
    distinct, rank = np.unique(times, return_inverse=True)
    # A later user's numbers all lie above an earlier one's, so one pass serves all users.
    stacked = np.maximum.accumulate(codes.astype(np.int64) * len(distinct) + rank)
    result: NDArray[np.float64] = distinct[stacked % len(distinct)]
    return result


def judge(
    network: RecBLR,
    item_ids: Sequence[str],
    popularity: NDArray[np.int64],
    timeline: Timeline,
    asked: NDArray[np.bool_],
) -> dict[str, float]:
    """How the model predicts the asked events, which must be the newest of their histories.

    item_ids  (V) of the model, that of row r at r - 1; popularity (V + 1,) events of each row.
    Every event counts the same: one of an item that the model does not know is a miss, and a user's very first event
    is asked too.
    """
    row_of = {item_id: row for row, item_id in enumerate(item_ids, start=1)}
    rows = np.array([row_of.get(item_id, 0) for item_id in timeline.item_ids], np.int64)[timeline.items]
    asked_of = np.add.reduceat(np.append(asked, False), timeline.offsets[:-1], dtype=np.int64)
    lengths = np.diff(timeline.offsets)
    asked_of[lengths == 0] = 0
    users = np.flatnonzero(asked_of)
    chosen = np.zeros(len(lengths), bool)
    chosen[users] = True
    questions = Questions(
        rows=rows[np.repeat(chosen, lengths)],
        offsets=np.concatenate([[0], np.cumsum(lengths[users])]),
        first=lengths[users] - asked_of[users],
    )
    ranks = rank_next(network, popularity, questions)
    return {"ndcg@10": mean_ndcg(ranks), "hr@10": mean_hit(ranks), "known_items": float((rows[asked] > 0).mean())}

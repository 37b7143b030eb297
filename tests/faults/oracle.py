"""What the log and the answers ought to be, worked out anew, and how far what was found is from it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from tests.faults.client import Client
from tests.faults.writers import K, Load, Told
from tests.model.float64 import Plain

TOLERANCE = 1e-4  # of scores, which are float32 there and float64 here
READERS = 8


@dataclass(frozen=True, slots=True)
class Kept:
    """An event as the log has it; its name is its timestamp (`Load`)."""

    sequence: int
    item: str
    name: int


Logs = Mapping[str, Sequence[Kept]]


@dataclass
class ModelComparison:
    """What is wrong; all of it is 0 where the promise was kept."""

    lost: int = 0  # acknowledged, and not in the log at the sequence that was named
    duplicated: int = 0  # in the log a second time, or never sent
    out_of_order: int = 0  # users whose sequences are not exactly 1..N
    wrong: int = 0  # answers that are not the fold at their sequence, or that contradict another
    examples: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """For the report."""
        return {name: value for name, value in asdict(self).items() if name != "examples"}

    def clean(self) -> bool:
        return not any(self.figures().values())


class Oracle:
    """The float64 network of each bundle, one event after the other from an empty history."""

    def __init__(self, *bundles: Bundle) -> None:
        self._bundles = {bundle.version: bundle for bundle in bundles}
        self._networks = {
            bundle.version: Plain(bundle.weights, bundle.config.layers, bundle.config.conv_width)
            for bundle in bundles
        }
        self._rows = {
            bundle.version: {item.item_id: row for row, item in enumerate(bundle.items, 1)} for bundle in bundles
        }

    def wrong(self, items: Sequence[str], answers: Iterable[Told]) -> list[str]:
        """Which of one user's answers are not the fold of the first `sequence` of `items` by their model."""
        by_version: dict[str, list[Told]] = defaultdict(list)
        for answer in answers:
            by_version[answer.version].append(answer)
        found = []
        for version, told in by_version.items():
            if version not in self._networks:
                found += [f"of no model: {answer}" for answer in told]
                continue
            outputs = self._outputs(version, items[: max(answer.sequence for answer in told)])
            found += [f"not the fold: {answer}" for answer in told if not self._is_fold(version, outputs, answer)]
        return found

    def _outputs(self, version: str, items: Sequence[str]) -> list[Any]:
        """The network's output after each item; an item that the model does not know changes nothing."""
        config = self._bundles[version].config
        assert config.start_token
        rows = [self._rows[version].get(item) for item in items]
        outputs, _ = self._networks[version].run([0, *(row for row in rows if row is not None)])
        known = np.cumsum([row is not None for row in rows])
        return [outputs[0], *(outputs[count] for count in known)]

    def _is_fold(self, version: str, outputs: Sequence[Any], answer: Told) -> bool:
        if answer.sequence >= len(outputs) or len(answer.items) != K:
            return False
        scores = self._networks[version].scores(outputs[answer.sequence])[1:]
        rows = [self._rows[version].get(item, 0) for item, _ in answer.items]
        if 0 in rows or len(set(rows)) != K:
            return False
        theirs = scores[np.array(rows) - 1]
        stated = np.array([score for _, score in answer.items])
        best = np.sort(scores)[::-1][:K]
        return bool(
            np.allclose(stated, theirs, rtol=TOLERANCE, atol=TOLERANCE)
            and np.allclose(stated, best, rtol=TOLERANCE, atol=TOLERANCE)
        )


async def logs_of(url: str, users: Iterable[str]) -> dict[str, list[Kept]]:
    """The whole log of each of `users`, as HTTP shows it; of a user without events an empty one."""
    waiting = list(dict.fromkeys(users))
    logs: dict[str, list[Kept]] = {}

    async def read() -> None:
        client = Client(url)
        while waiting:
            user = waiting.pop()
            logs[user] = await _log_of(client, user)
        client.close()

    await asyncio.gather(*(read() for _ in range(READERS)))
    return logs


async def _log_of(client: Client, user: str) -> list[Kept]:
    log: list[Kept] = []
    before = ""
    while True:
        status, page = await client.read(f"/users/{user}/events?limit=1000{before}")
        if status == 404:
            return []
        assert status == 200, page
        log = [Kept(e["sequence"], e["item_id"], int(e["timestamp"])) for e in page["events"]] + log
        if page["next_before"] is None:
            return log
        before = f"&before={page['next_before']}"


def judge(
    load: Load, logs: Logs, oracle: Oracle, before: Mapping[str, Sequence[str]] | None = None
) -> ModelComparison:
    """Hold `logs`, which nothing was trimmed or deleted from, and the answers against what was sent.

    `before` is what each user had in the log when the load began: items, oldest first, with timestamps below 1.
    """
    comparison = ModelComparison(wrong=len(load.contradictions), examples=load.contradictions[:5])
    before = before or {}
    sent: dict[str, dict[int, str]] = defaultdict(dict)
    for name, (user, item) in load.sent.items():
        sent[user][name] = item
    answers: dict[str, list[Told]] = defaultdict(list)
    for answer in load.answers:
        answers[answer.user].append(answer)
    for user, log in logs.items():
        old = len(before.get(user, ()))
        if [kept.item for kept in log[:old]] != list(before.get(user, ())) or any(k.name > 0 for k in log[:old]):
            comparison.lost += 1
            comparison.examples.append(f"the history of {user} from before is another one")
        comparison.out_of_order += [kept.sequence for kept in log] != list(range(1, len(log) + 1))
        times = Counter(kept.name for kept in log[old:])
        strangers = [kept for kept in log[old:] if sent[user].get(kept.name) != kept.item]
        comparison.duplicated += sum(times.values()) - len(times) + len(strangers)
        at = {kept.name: kept.sequence for kept in log}
        missing = [n for n in sent[user] if n in load.acknowledged and at.get(n) != load.acknowledged[n]]
        if missing and max(times.values(), default=0) > 1:  # a double is one fault, not also a loss
            missing = [name for name in missing if name not in at]
        comparison.lost += len(missing)
        wrong = oracle.wrong([kept.item for kept in log], answers[user])
        comparison.wrong += len(wrong)
        comparison.examples += [f"doubled or strange: {kept} of {user}" for kept in strangers[:2]]
        comparison.examples += [f"lost: {name} of {user}" for name in missing[:2]] + wrong[:2]
    comparison.examples = comparison.examples[:10]
    return comparison

"""Test oracle: expected logs and answers, computed independently of the service."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from tests.faults.harness.client import Client
from tests.faults.harness.writers import K, Load, ReceivedAnswer
from tests.model.float64 import Plain

TOLERANCE = 1e-4  # of scores: float32 in the service, float64 here
READERS = 8


@dataclass(frozen=True, slots=True)
class LogEntry:
    """An event in the log; `number` is its timestamp (see `Load`)."""

    sequence: int
    item: str
    number: int


Logs = Mapping[str, Sequence[LogEntry]]


@dataclass
class CheckResult:
    """Violations of the guarantees; all are 0 if the service kept them."""

    lost: int = 0  # acknowledged events that are not in the log at their sequence
    duplicated: int = 0  # events that are in the log twice, or were never sent
    out_of_order: int = 0  # users whose sequences are not exactly 1..N
    wrong: int = 0  # answers that differ from the replay at their sequence, or contradict another answer
    lost_writes: int = 0  # acknowledged changes of the catalogue that the store lacks, or has elsewhere
    repeated_writes: int = 0  # changes of the catalogue that were stored more often than they were sent
    wrong_selections: int = 0  # answers that do not hold exactly what a filter allows under their revision
    diverged: int = 0  # workers whose copy of the catalogue differs from the store
    examples: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """Return the figures for the report."""
        return {name: value for name, value in asdict(self).items() if name != "examples"}

    def joined(self, other: CheckResult) -> CheckResult:
        """Return the violations of both."""
        sums = {name: count + other.figures()[name] for name, count in self.figures().items()}
        return CheckResult(**sums, examples=self.examples + other.examples)

    def clean(self) -> bool:
        return not any(self.figures().values())


# The items that a revision of the catalogue shows; None if that is not known.
Shown = Callable[[str | None], Collection[str] | None]


class Oracle:
    """Float64 network of each bundle, replaying from an empty history."""

    def __init__(self, *bundles: Bundle) -> None:
        self._bundles = {bundle.version: bundle for bundle in bundles}
        self._networks = {
            bundle.version: Plain(bundle.weights, bundle.config.layers, bundle.config.conv_width)
            for bundle in bundles
        }
        self._rows = {
            bundle.version: {item.item_id: row for row, item in enumerate(bundle.items, 1)} for bundle in bundles
        }

    def wrong(self, items: Sequence[str], answers: Iterable[ReceivedAnswer], shown: Shown | None = None) -> list[str]:
        """Return a message for each wrong answer of one user.

        An answer must be the replay of the first `sequence` of `items` by its model, and hold the best of what its
        revision of the catalogue shows.
        """
        by_version: dict[str, list[ReceivedAnswer]] = defaultdict(list)
        for answer in answers:
            by_version[answer.version].append(answer)
        found = []
        for version, received in by_version.items():
            if version not in self._networks:
                found += [f"unknown model: {answer}" for answer in received]
                continue
            every = self._rows[version]
            outputs = self._outputs(version, items[: max(answer.sequence for answer in received)])
            wrong = (
                a for a in received if not self._is_replay(version, outputs, a, shown(a.revision) if shown else every)
            )
            found += [f"not the replay: {answer}" for answer in wrong]
        return found

    def _outputs(self, version: str, items: Sequence[str]) -> list[Any]:
        """Return the network's output before the first and after each item.

        Unknown items change nothing.
        """
        config = self._bundles[version].config
        assert config.start_token
        rows = [self._rows[version].get(item) for item in items]
        outputs, _ = self._networks[version].run([0, *(row for row in rows if row is not None)])
        known = np.cumsum([row is not None for row in rows])
        return [outputs[0], *(outputs[count] for count in known)]

    def _is_replay(
        self, version: str, outputs: Sequence[Any], answer: ReceivedAnswer, shown: Collection[str] | None
    ) -> bool:
        """Return whether an answer is right; `shown` may be unknown."""
        rows = [self._rows[version].get(item, 0) for item, _ in answer.items]
        if answer.sequence >= len(outputs) or 0 in rows or len(set(rows)) != len(rows):
            return False
        scores = self._networks[version].scores(outputs[answer.sequence])[1:]
        stated = np.array([score for _, score in answer.items])
        if not np.allclose(stated, scores[np.array(rows, int) - 1], rtol=TOLERANCE, atol=TOLERANCE):
            return False
        if shown is None:
            return True
        allowed = np.array([item in shown for item in self._rows[version]])
        best = np.sort(scores[allowed])[::-1][:K]
        return (
            len(rows) == len(best)
            and bool(allowed[np.array(rows, int) - 1].all())
            and np.allclose(stated, best, rtol=TOLERANCE, atol=TOLERANCE)
        )


async def logs_of(url: str, users: Iterable[str]) -> dict[str, list[LogEntry]]:
    """Read the whole log of each user over HTTP."""
    waiting = list(dict.fromkeys(users))
    logs: dict[str, list[LogEntry]] = {}

    async def read() -> None:
        client = Client(url)
        while waiting:
            user = waiting.pop()
            logs[user] = await _log_of(client, user)
        client.close()

    await asyncio.gather(*(read() for _ in range(READERS)))
    return logs


async def _log_of(client: Client, user: str) -> list[LogEntry]:
    log: list[LogEntry] = []
    before = ""
    while True:
        status, page = await client.read(f"/users/{user}/events?limit=1000{before}")
        if status == 404:
            return []
        assert status == 200, page
        log = [LogEntry(e["sequence"], e["item_id"], int(e["timestamp"])) for e in page["events"]] + log
        if page["next_before"] is None:
            return log
        before = f"&before={page['next_before']}"


def check_answers(
    load: Load,
    logs: Logs,
    oracle: Oracle,
    before: Mapping[str, Sequence[str]] | None = None,
    shown: Shown | None = None,
) -> CheckResult:
    """Compare logs and answers with what a load has sent.

    Args:
        load: the load, which has ended.
        logs: complete logs, without retention and deletion.
        oracle: the expected answers.
        before: items of each user before the load, oldest first, with timestamps below 1.
        shown: what the catalogue shows under a revision; without a catalogue everything.
    """
    result = CheckResult(wrong=len(load.contradictions), examples=load.contradictions[:5])
    before = before or {}
    sent: dict[str, dict[int, str]] = defaultdict(dict)
    for number, (user, item) in load.sent.items():
        sent[user][number] = item
    answers: dict[str, list[ReceivedAnswer]] = defaultdict(list)
    for answer in load.answers:
        answers[answer.user].append(answer)
    for user, log in logs.items():
        earlier = len(before.get(user, ()))
        items = [entry.item for entry in log]
        if items[:earlier] != list(before.get(user, ())) or any(entry.number > 0 for entry in log[:earlier]):
            result.lost += 1
            result.examples.append(f"the history of {user} before the load has changed")
        result.out_of_order += [entry.sequence for entry in log] != list(range(1, len(log) + 1))
        times = Counter(entry.number for entry in log[earlier:])
        never_sent = [entry for entry in log[earlier:] if sent[user].get(entry.number) != entry.item]
        result.duplicated += sum(times.values()) - len(times) + len(never_sent)
        sequence_of = {entry.number: entry.sequence for entry in log}
        missing = [n for n in sent[user] if n in load.acknowledged and sequence_of.get(n) != load.acknowledged[n]]
        if missing and max(times.values(), default=0) > 1:  # a duplicate is one violation, not also a loss
            missing = [number for number in missing if number not in sequence_of]
        result.lost += len(missing)
        wrong = oracle.wrong(items, answers[user], shown)
        result.wrong += len(wrong)
        result.examples += [f"duplicate or never sent: {entry} of {user}" for entry in never_sent[:2]]
        result.examples += [f"lost: {number} of {user}" for number in missing[:2]] + wrong[:2]
    result.examples = result.examples[:10]
    return result

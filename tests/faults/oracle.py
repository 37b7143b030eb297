"""Expected logs and answers, from an independent implementation."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from model.bundle.bundle import Bundle
from tests.faults.client import Client
from tests.faults.writers import Answer, K, Load
from tests.model.float64 import Plain

TOLERANCE = 1e-4  # of scores: float32 in the service, float64 here
READERS = 8


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of the log; its name is its timestamp (see `Load`)."""

    sequence: int
    item: str
    name: int


Logs = Mapping[str, Sequence[LoggedEvent]]


@dataclass
class Findings:
    """Number of problems of each kind, all 0 if there are none."""

    lost: int = 0  # acknowledged, but not in the log at that sequence
    duplicated: int = 0  # in the log twice, or never sent
    out_of_order: int = 0  # users whose sequences are not exactly 1..N
    wrong: int = 0  # answers that are not the replay at their sequence, or contradict another
    examples: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """Return the figures for the report."""
        return {name: value for name, value in asdict(self).items() if name != "examples"}

    def clean(self) -> bool:
        return not any(self.figures().values())


class Oracle:
    """The float64 network of each bundle, stepped from an empty history."""

    def __init__(self, *bundles: Bundle) -> None:
        self._bundles = {bundle.version: bundle for bundle in bundles}
        self._networks = {
            bundle.version: Plain(bundle.weights, bundle.config.layers, bundle.config.conv_width)
            for bundle in bundles
        }
        self._rows = {
            bundle.version: {item.item_id: row for row, item in enumerate(bundle.items, 1)} for bundle in bundles
        }

    def incorrect(self, items: Sequence[str], answers: Iterable[Answer]) -> list[str]:
        """Describe the answers that are not the replay of the user's items."""
        by_version: dict[str, list[Answer]] = defaultdict(list)
        for answer in answers:
            by_version[answer.version].append(answer)
        problems = []
        for version, version_answers in by_version.items():
            if version not in self._networks:
                problems += [f"unknown version: {answer}" for answer in version_answers]
                continue
            outputs = self._outputs(version, items[: max(answer.sequence for answer in version_answers)])
            problems += [
                f"not the replay: {answer}"
                for answer in version_answers
                if not self._is_replay(version, outputs, answer)
            ]
        return problems

    def _outputs(self, version: str, items: Sequence[str]) -> list[Any]:
        """Return the output after each item; unknown items change nothing."""
        config = self._bundles[version].config
        assert config.start_token
        rows = [self._rows[version].get(item) for item in items]
        outputs, _ = self._networks[version].run([0, *(row for row in rows if row is not None)])
        known = np.cumsum([row is not None for row in rows])
        return [outputs[0], *(outputs[count] for count in known)]

    def _is_replay(self, version: str, outputs: Sequence[Any], answer: Answer) -> bool:
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


async def read_logs(url: str, users: Iterable[str]) -> dict[str, list[LoggedEvent]]:
    """Read the whole log of each user over HTTP."""
    waiting = list(dict.fromkeys(users))
    logs: dict[str, list[LoggedEvent]] = {}

    async def read() -> None:
        client = Client(url)
        while waiting:
            user = waiting.pop()
            logs[user] = await _read_log(client, user)
        client.close()

    await asyncio.gather(*(read() for _ in range(READERS)))
    return logs


async def _read_log(client: Client, user: str) -> list[LoggedEvent]:
    log: list[LoggedEvent] = []
    before = ""
    while True:
        status, page = await client.read(f"/users/{user}/events?limit=1000{before}")
        if status == 404:
            return []
        assert status == 200, page
        log = [LoggedEvent(e["sequence"], e["item_id"], int(e["timestamp"])) for e in page["events"]] + log
        if page["next_before"] is None:
            return log
        before = f"&before={page['next_before']}"


def check_logs(load: Load, logs: Logs, oracle: Oracle, before: Mapping[str, Sequence[str]] | None = None) -> Findings:
    """Compare complete logs and the answers with the sent events.

    `before` has the items of each user when the load began, oldest first, with timestamps below 1.
    """
    findings = Findings(wrong=len(load.contradictions), examples=load.contradictions[:5])
    before = before or {}
    sent: dict[str, dict[int, str]] = defaultdict(dict)
    for name, (user, item) in load.sent.items():
        sent[user][name] = item
    answers: dict[str, list[Answer]] = defaultdict(list)
    for answer in load.answers:
        answers[answer.user].append(answer)
    for user, log in logs.items():
        old = len(before.get(user, ()))
        if [event.item for event in log[:old]] != list(before.get(user, ())) or any(
            event.name > 0 for event in log[:old]
        ):
            findings.lost += 1
            findings.examples.append(f"the history of {user} from before the load has changed")
        findings.out_of_order += [event.sequence for event in log] != list(range(1, len(log) + 1))
        times = Counter(event.name for event in log[old:])
        unexpected = [event for event in log[old:] if sent[user].get(event.name) != event.item]
        findings.duplicated += sum(times.values()) - len(times) + len(unexpected)
        at = {event.name: event.sequence for event in log}
        missing = [n for n in sent[user] if n in load.acknowledged and at.get(n) != load.acknowledged[n]]
        if missing and max(times.values(), default=0) > 1:  # a duplicate is not a loss too
            missing = [name for name in missing if name not in at]
        findings.lost += len(missing)
        wrong = oracle.incorrect([event.item for event in log], answers[user])
        findings.wrong += len(wrong)
        findings.examples += [f"duplicated or never sent: {event} of {user}" for event in unexpected[:2]]
        findings.examples += [f"lost: {name} of {user}" for name in missing[:2]] + wrong[:2]
    findings.examples = findings.examples[:10]
    return findings

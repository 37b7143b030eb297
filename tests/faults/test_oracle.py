"""The fault tests' oracle accepts correct results and finds each problem."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.oracle import Findings, LoggedEvent, Logs, Oracle, check_logs, read_logs
from tests.faults.population import Population, audit_users
from tests.faults.writers import Load
from tests.model.builders import bundle_of

ITEMS, SEED = 40, 20261128
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=8))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Load, Logs, Population]:
    """The load, the logs and the population of a service without faults."""
    folder = tmp_path_factory.mktemp("oracle")
    write_bundle(folder / "bundle", BUNDLE)
    url = f"sqlite:///{folder}/log.db"
    population = Population(30, ITEMS, SEED)

    async def run(service: RunningService) -> tuple[Load, Logs]:
        await population.fill(service.url)
        users = [*list(population.histories)[:3], "a-newcomer"]
        load = Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, writers=4)
        await load.write(12)
        audited = await audit_users(service.url, url)
        assert audited.sequences.keys() == population.histories.keys() | {"a-newcomer"}
        assert audited.events == sum(audited.sequences.values()) == population.events + len(load.sent)
        assert (audited.damaged, audited.inexact) == (0, 0)
        assert audited.snapshots
        assert audited.max_relative_error <= 1e-5
        return load, await read_logs(service.url, users)

    with RunningService(folder, url, folder / "bundle") as service:
        return *asyncio.run(run(service)), population


def check_changed_log(written: tuple[Load, Logs, Population], user: str, log: list[LoggedEvent]) -> Findings:
    load, logs, population = written
    return check_logs(load, {**logs, user: log}, Oracle(BUNDLE), population.histories)


def test_correct_results_have_no_findings(written: tuple[Load, Logs, Population]) -> None:
    load, logs, population = written
    findings = check_logs(load, logs, Oracle(BUNDLE), population.histories)
    assert findings.clean(), findings
    assert len(load.acknowledged) == len(load.sent) == 48
    assert len(load.answers) > len(load.sent)  # some were sent twice


def test_each_kind_of_problem_is_found(written: tuple[Load, Logs, Population]) -> None:
    user = "a-newcomer"
    log = list(written[1][user])
    without_last = check_changed_log(written, user, log[:-1])
    assert (without_last.lost, without_last.duplicated, without_last.out_of_order) == (1, 0, 0)
    assert without_last.wrong  # answers name a sequence that is not in the log
    doubled = check_changed_log(written, user, [*log, dataclasses.replace(log[0], sequence=len(log) + 1)])
    assert (doubled.lost, doubled.duplicated, doubled.out_of_order, doubled.wrong) == (0, 1, 0, 0)
    unexpected = check_changed_log(written, user, [*log, LoggedEvent(len(log) + 1, "i1", 10**6)])
    assert (unexpected.lost, unexpected.duplicated) == (0, 1)
    gap = check_changed_log(written, user, [*log, dataclasses.replace(log[0], name=0, sequence=len(log) + 2)])
    assert gap.out_of_order == 1
    swapped = [
        dataclasses.replace(log[1], sequence=1),
        dataclasses.replace(log[0], sequence=2),
        *log[2:],
    ]
    reordered = check_changed_log(written, user, swapped)
    assert reordered.lost == 2
    assert reordered.wrong
    other = next(iter(written[2].histories))
    assert check_changed_log(written, other, list(written[1][other])[1:]).lost


def test_answer_of_another_replay_is_incorrect(written: tuple[Load, Logs, Population]) -> None:
    load, logs, _ = written
    user = "a-newcomer"
    answer = max((a for a in load.answers if a.user == user), key=lambda a: a.sequence)
    items = [kept.item for kept in logs[user]]
    oracle = Oracle(BUNDLE)
    assert oracle.incorrect(items, [answer]) == []
    earlier = dataclasses.replace(answer, sequence=answer.sequence - 1)
    cut = dataclasses.replace(answer, items=answer.items[:-1])
    nudged = dataclasses.replace(answer, items=((answer.items[0][0], answer.items[0][1] + 0.01), *answer.items[1:]))
    worse = dataclasses.replace(answer, items=(*answer.items[1:], answer.items[0]))
    unknown_version = dataclasses.replace(answer, version="v0")
    for changed in (earlier, cut, nudged, worse, unknown_version):
        assert len(oracle.incorrect(items, [changed, answer])) == 1, changed
    assert Oracle(bundle_of(ModelConfig(items=ITEMS, dim=8), seed=1)).incorrect(items, [answer])

"""The oracle of the fault tests finds each kind of violation."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.harness.oracle import CheckResult, LogEntry, Logs, Oracle, check_answers, logs_of
from tests.faults.harness.population import Population, audit_all_users
from tests.faults.harness.writers import Load
from tests.model.builders import bundle_of

ITEMS, SEED = 40, 20261128
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=8))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Load, Logs, Population]:
    """Load and logs of a service without faults."""
    folder = tmp_path_factory.mktemp("oracle")
    write_bundle(folder / "bundle", BUNDLE)
    url = f"sqlite:///{folder}/log.db"
    population = Population(30, ITEMS, SEED)

    async def run(service: RunningService) -> tuple[Load, Logs]:
        await population.fill(service.url)
        users = [*list(population.histories)[:3], "a-newcomer"]
        load = Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, writers=4)
        await load.write(12)
        audited = await audit_all_users(service.url, url)
        assert audited.sequences.keys() == population.histories.keys() | {"a-newcomer"}
        assert audited.events == sum(audited.sequences.values()) == population.events + len(load.sent)
        assert (audited.damaged, audited.inexact) == (0, 0)
        assert audited.snapshots
        assert audited.max_relative_error <= 1e-5
        return load, await logs_of(service.url, users)

    with RunningService(folder, url, folder / "bundle") as service:
        return *asyncio.run(run(service)), population


def check_with_log(written: tuple[Load, Logs, Population], user: str, log: list[LogEntry]) -> CheckResult:
    load, logs, population = written
    return check_answers(load, {**logs, user: log}, Oracle(BUNDLE), population.histories)


def test_service_without_faults_has_no_violation(written: tuple[Load, Logs, Population]) -> None:
    load, logs, population = written
    result = check_answers(load, logs, Oracle(BUNDLE), population.histories)
    assert result.clean(), result
    assert len(load.acknowledged) == len(load.sent) == 48
    assert len(load.answers) > len(load.sent)  # some events were sent twice


def test_each_kind_of_violation_is_found(written: tuple[Load, Logs, Population]) -> None:
    user = "a-newcomer"
    log = list(written[1][user])
    without_last = check_with_log(written, user, log[:-1])
    assert (without_last.lost, without_last.duplicated, without_last.out_of_order) == (1, 0, 0)
    assert without_last.wrong  # its answers name a missing sequence
    doubled = check_with_log(written, user, [*log, dataclasses.replace(log[0], sequence=len(log) + 1)])
    assert (doubled.lost, doubled.duplicated, doubled.out_of_order, doubled.wrong) == (0, 1, 0, 0)
    never_sent = check_with_log(written, user, [*log, LogEntry(len(log) + 1, "i1", 10**6)])
    assert (never_sent.lost, never_sent.duplicated) == (0, 1)
    gap = check_with_log(written, user, [*log, dataclasses.replace(log[0], number=0, sequence=len(log) + 2)])
    assert gap.out_of_order == 1
    swapped = [
        dataclasses.replace(log[1], sequence=1),
        dataclasses.replace(log[0], sequence=2),
        *log[2:],
    ]
    result = check_with_log(written, user, swapped)
    assert result.lost == 2
    assert result.wrong
    other = next(iter(written[2].histories))
    assert check_with_log(written, other, list(written[1][other])[1:]).lost


def test_answer_of_another_replay_is_wrong(written: tuple[Load, Logs, Population]) -> None:
    load, logs, _ = written
    user = "a-newcomer"
    answer = max((a for a in load.answers if a.user == user), key=lambda a: a.sequence)
    items = [entry.item for entry in logs[user]]
    oracle = Oracle(BUNDLE)
    assert oracle.wrong(items, [answer]) == []
    earlier = dataclasses.replace(answer, sequence=answer.sequence - 1)
    cut = dataclasses.replace(answer, items=answer.items[:-1])
    nudged = dataclasses.replace(answer, items=((answer.items[0][0], answer.items[0][1] + 0.01), *answer.items[1:]))
    worse = dataclasses.replace(answer, items=(*answer.items[1:], answer.items[0]))
    of_no_model = dataclasses.replace(answer, version="v0")
    for wrong in (earlier, cut, nudged, worse, of_no_model):
        assert len(oracle.wrong(items, [wrong, answer])) == 1, wrong
    assert Oracle(bundle_of(ModelConfig(items=ITEMS, dim=8), seed=1)).wrong(items, [answer])

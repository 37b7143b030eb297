"""The judge of the fault tests: of what is right it says nothing, and each kind of wrong it sees."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from model.bundle.bundle import write_bundle
from model.config import ModelConfig
from tests.end_to_end.service import RunningService
from tests.faults.oracle import Kept, Logs, ModelComparison, Oracle, judge, logs_of
from tests.faults.population import Population, audit_everyone
from tests.faults.writers import Load
from tests.model.builders import bundle_of

ITEMS, SEED = 40, 20261128
BUNDLE = bundle_of(ModelConfig(items=ITEMS, dim=8))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Load, Logs, Population]:
    """A service that nothing befell."""
    folder = tmp_path_factory.mktemp("oracle")
    write_bundle(folder / "bundle", BUNDLE)
    url = f"sqlite:///{folder}/log.db"
    population = Population(30, ITEMS, SEED)

    async def run(service: RunningService) -> tuple[Load, Logs]:
        await population.fill(service.url)
        users = [*list(population.histories)[:3], "a-newcomer"]
        load = Load(service.url, users, [f"i{row}" for row in range(1, ITEMS + 1)], SEED, writers=4)
        await load.write(12)
        audited = await audit_everyone(service.url, url)
        assert audited.sequences.keys() == population.histories.keys() | {"a-newcomer"}
        assert audited.events == sum(audited.sequences.values()) == population.events + len(load.sent)
        assert (audited.damaged, audited.inexact) == (0, 0)
        assert audited.snapshots
        assert audited.max_relative_error <= 1e-5
        return load, await logs_of(service.url, users)

    with RunningService(folder, url, folder / "bundle") as service:
        return *asyncio.run(run(service)), population


def evaluated(written: tuple[Load, Logs, Population], user: str, log: list[Kept]) -> ModelComparison:
    load, logs, population = written
    return judge(load, {**logs, user: log}, Oracle(BUNDLE), population.histories)


def test_what_is_right_is_clean(written: tuple[Load, Logs, Population]) -> None:
    load, logs, population = written
    comparison = judge(load, logs, Oracle(BUNDLE), population.histories)
    assert comparison.clean(), comparison
    assert len(load.acknowledged) == len(load.sent) == 48
    assert len(load.answers) > len(load.sent)  # some were sent twice


def test_each_kind_of_wrong_is_seen(written: tuple[Load, Logs, Population]) -> None:
    user = "a-newcomer"
    log = list(written[1][user])
    without_last = evaluated(written, user, log[:-1])
    assert (without_last.lost, without_last.duplicated, without_last.out_of_order) == (1, 0, 0)
    assert without_last.wrong  # its answers name a sequence that is not there
    doubled = evaluated(written, user, [*log, dataclasses.replace(log[0], sequence=len(log) + 1)])
    assert (doubled.lost, doubled.duplicated, doubled.out_of_order, doubled.wrong) == (0, 1, 0, 0)
    stranger = evaluated(written, user, [*log, Kept(len(log) + 1, "i1", 10**6)])
    assert (stranger.lost, stranger.duplicated) == (0, 1)
    gap = evaluated(written, user, [*log, dataclasses.replace(log[0], name=0, sequence=len(log) + 2)])
    assert gap.out_of_order == 1
    swapped = [
        dataclasses.replace(log[1], sequence=1),
        dataclasses.replace(log[0], sequence=2),
        *log[2:],
    ]
    exchanged = evaluated(written, user, swapped)
    assert exchanged.lost == 2
    assert exchanged.wrong
    other = next(iter(written[2].histories))
    assert evaluated(written, other, list(written[1][other])[1:]).lost


def test_an_answer_of_another_fold_is_wrong(written: tuple[Load, Logs, Population]) -> None:
    load, logs, _ = written
    user = "a-newcomer"
    answer = max((a for a in load.answers if a.user == user), key=lambda a: a.sequence)
    items = [kept.item for kept in logs[user]]
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

"""When the faults are over: the verdict on a load, and the audit of everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.bundle.bundle import Bundle
from tests.faults.oracle import ModelComparison, Oracle, judge, logs_of
from tests.faults.population import Audited, Population, audit_everyone
from tests.faults.writers import Load


async def evaluated(load: Load, bundles: Sequence[Bundle], population: Population | None = None) -> ModelComparison:
    """What is wrong with the load's answers and its users' logs; `population` is what the store held before."""
    before: Mapping[str, Sequence[str]] = {} if population is None else population.histories
    return judge(load, await logs_of(load.url, load.users), Oracle(*bundles), before)


async def audited(load: Load, state_url: str, population: Population, comparison: ModelComparison) -> Audited:
    """The audit of everyone. Of whom the load left alone, `verdict` hears if the store has not what it had."""
    found = await audit_everyone(load.url, state_url)
    written = set(load.users)
    for user, items in population.histories.items():
        if user not in written and found.sequences.get(user) != len(items):
            comparison.lost += 1
            comparison.examples.append(f"{user} had {len(items)} events, now {found.sequences.get(user)}")
    # An audit finds nothing wrong with a memo that is not there.
    assert found.snapshots > len(found.sequences) // 3
    assert found.inexact == 0
    return found

"""When the faults are over: the verdict on a load, and the audit of everyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.bundle.bundle import Bundle
from tests.faults.oracle import Oracle, Verdict, judge, logs_of
from tests.faults.population import Audited, Population, audit_everyone
from tests.faults.writers import Load


async def judged(load: Load, bundles: Sequence[Bundle], population: Population | None = None) -> Verdict:
    """What is wrong with the load's answers and its users' logs; `population` is what the store held before."""
    before: Mapping[str, Sequence[str]] = {} if population is None else population.histories
    return judge(load, await logs_of(load.url, load.users), Oracle(*bundles), before)


async def audited(load: Load, state_url: str, population: Population, verdict: Verdict) -> Audited:
    """The audit of everyone. Of whom the load left alone, `verdict` hears if the store has not what it had."""
    found = await audit_everyone(load.url, state_url)
    written = set(load.users)
    for user, items in population.histories.items():
        if user not in written and found.sequences.get(user) != len(items):
            verdict.lost += 1
            verdict.examples.append(f"{user} had {len(items)} events, now {found.sequences.get(user)}")
    # An audit finds nothing wrong with a memo that is not there.
    assert found.memos > len(found.sequences) // 3
    assert found.inexact == 0
    return found

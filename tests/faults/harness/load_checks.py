"""Checks after the faults: answers, logs, and an audit of all users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.bundle.bundle import Bundle
from tests.faults.harness.oracle import CheckResult, Oracle, check_answers, logs_of
from tests.faults.harness.population import AuditSummary, Population, audit_all_users
from tests.faults.harness.writers import Load


async def check_load(load: Load, bundles: Sequence[Bundle], population: Population | None = None) -> CheckResult:
    """Check the answers that a load got, and its users' logs.

    Args:
        load: the load, which has ended.
        bundles: all models that may have answered.
        population: users that the store held before the load.
    """
    before: Mapping[str, Sequence[str]] = {} if population is None else population.histories
    return check_answers(load, await logs_of(load.url, load.users), Oracle(*bundles), before)


async def audit_after_load(load: Load, state_url: str, population: Population, result: CheckResult) -> AuditSummary:
    """Audit all users, including those without load.

    Args:
        load: the load, which has ended.
        state_url: the service's store.
        population: users that the store held before the load.
        result: receives the losses of users without load.
    """
    summary = await audit_all_users(load.url, state_url)
    written = set(load.users)
    for user, items in population.histories.items():
        if user not in written and summary.sequences.get(user) != len(items):
            result.lost += 1
            result.examples.append(f"{user} had {len(items)} events, now {summary.sequences.get(user)}")
    # An audit finds no error in a missing snapshot, so enough snapshots must exist.
    assert summary.snapshots > len(summary.sequences) // 3
    assert summary.inexact == 0
    return summary

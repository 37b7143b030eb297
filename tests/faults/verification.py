"""Checks after a fault: comparison with the oracle, and audits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.bundle.bundle import Bundle
from tests.faults.oracle import Findings, Oracle, check_logs, read_logs
from tests.faults.population import AuditSummary, Population, audit_users
from tests.faults.writers import Load


async def check_load(load: Load, bundles: Sequence[Bundle], population: Population | None = None) -> Findings:
    """Compare the load's answers and its users' logs with the oracle.

    `population` is what the store held before the load.
    """
    before: Mapping[str, Sequence[str]] = {} if population is None else population.histories
    return check_logs(load, await read_logs(load.url, load.users), Oracle(*bundles), before)


async def audit_all(load: Load, state_url: str, population: Population, findings: Findings) -> AuditSummary:
    """Audit every user.

    Users outside the load that lost events are added to `findings`.
    """
    audits = await audit_users(load.url, state_url)
    written = set(load.users)
    for user, items in population.histories.items():
        if user not in written and audits.sequences.get(user) != len(items):
            findings.lost += 1
            findings.examples.append(f"{user} had {len(items)} events, now {audits.sequences.get(user)}")
    # An audit without a snapshot compares nothing.
    assert audits.snapshots > len(audits.sequences) // 3
    assert audits.inexact == 0
    return audits

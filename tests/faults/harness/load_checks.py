"""Checks after the faults: answers, logs, and an audit of all users."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from model.bundle.bundle import Bundle
from tests.faults.harness.catalogue_checks import check_catalogue, is_shown
from tests.faults.harness.catalogue_history import History
from tests.faults.harness.catalogue_traffic import CatalogueTraffic
from tests.faults.harness.oracle import CheckResult, Oracle, check_answers, logs_of
from tests.faults.harness.population import AuditSummary, Population, audit_all_users
from tests.faults.harness.writers import Load


async def check_load(
    load: Load,
    bundles: Sequence[Bundle],
    population: Population | None = None,
    traffic: CatalogueTraffic | None = None,
) -> CheckResult:
    """Check a load's answers, its users' logs, and the catalogue.

    Args:
        load: the load, which has ended.
        bundles: all models that may have answered.
        population: users that the store held before the load.
        traffic: changes of the catalogue during the load, which have ended.
    """
    before: Mapping[str, Sequence[str]] = {} if population is None else population.histories
    found, shown = CheckResult(), None
    if traffic is not None:
        history = await check_catalogue(traffic, found)
        shown = partial(shown_items, history)
    result = check_answers(load, await logs_of(load.url, load.users), Oracle(*bundles), before, shown)
    return result.joined(found)


def shown_items(history: History, revision: str | None) -> Collection[str] | None:
    """Return the items that a revision shows, if that is known."""
    states = history.at(revision)
    return None if states is None else {item for item, state in states.items() if is_shown(state)}


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

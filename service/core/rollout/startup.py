"""Choose the model version to serve when the service starts.

Restarting one worker does not change it.
"""

from __future__ import annotations

import logging

from service.core.errors import BundleRefusedError, ModelVersionNotFound
from service.core.ports import Bundles, ModelVersion, Store
from service.core.rollout.desired_state import ROLLOUT_RECORD, DesiredState, Serving, decode_desired_state

_log = logging.getLogger(__name__)


async def choose_startup_version(store: Store, bundles: Bundles, watch: bool, checked: str | None = None) -> None:
    """Write the version to serve into the rollout record.

    The version is loaded once, to check it, unless it is `checked`. It is the newest bundle, unless somebody has
    chosen another version since that bundle was published. Without `watch` a choice stays until the next one
    (decision 0066).

    Raises:
        BundleRefusedError: neither the desired version nor the newest bundle can be loaded.
        StoreUnavailable: the store does not answer.
    """
    record = (await store.records()).get(ROLLOUT_RECORD)
    desired = decode_desired_state(record)
    newest = (await bundles.published())[-1]
    if record is None or (desired is not None and _replaces(newest, desired, watch)):
        if newest.version != checked:
            await bundles.load(newest.version)
        state = DesiredState(Serving(newest.version), False, newest.order)
        await store.compare_and_set(ROLLOUT_RECORD, record, state.encode())
        return
    try:
        if desired is None:
            raise BundleRefusedError("the rollout record has the format of another release")
        await bundles.load(desired.serving.live)
    except (BundleRefusedError, ModelVersionNotFound) as error:
        if isinstance(error, BundleRefusedError) and desired is not None and desired.serving.live == newest.version:
            raise  # loading the newest once more would fail alike
        _log.warning("cannot load the desired model; serving the newest bundle", extra={"reason": error.for_log})
        await bundles.load(newest.version)
    else:
        if newest.version not in desired.serving.versions:
            fields = {"model": desired.serving.live, "newest": newest.version}
            _log.info("serving the chosen model, although a newer one is published", extra=fields)


def _replaces(newest: ModelVersion, desired: DesiredState, watch: bool) -> bool:
    """Return whether the newest bundle replaces the desired version."""
    replaceable = desired.serving.ab_test is None and (watch or not desired.chosen)
    return replaceable and newest.version != desired.serving.live and newest.order > desired.newest

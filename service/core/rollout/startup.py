"""What a start of the service changes about what is served. The start of one of its workers changes nothing."""

from __future__ import annotations

import logging

from service.core.errors import ModelVersionNotFound
from service.core.ports import BundleRefusedError, Bundles, ModelVersion, Store
from service.core.rollout.desired_state import ROLLOUT_RECORD, Rollout, Serving, decode_rollout

_log = logging.getLogger(__name__)


async def choose_startup_version(store: Store, bundles: Bundles, watch: bool) -> None:
    """Load once what will be served; raises `BundleRefusedError` where that is nothing, `StoreUnavailable`.

    The newest bundle is served, unless somebody has chosen another one since it was published. Without a watch a
    choice stands until the next one.
    """
    text = (await store.records()).get(ROLLOUT_RECORD)
    rollout = decode_rollout(text)
    newest = (await bundles.published())[-1]
    if text is None or (rollout is not None and _replaced(rollout, newest, watch)):
        await bundles.load(newest.version)
        await store.compare_and_set(
            ROLLOUT_RECORD, text, Rollout(Serving(newest.version), False, newest.order).encode()
        )
        return
    try:
        if rollout is None:
            raise BundleRefusedError("the note of what to serve was written by another release of this software")
        await bundles.load(rollout.serving.live)
    except (BundleRefusedError, ModelVersionNotFound) as error:
        if isinstance(error, BundleRefusedError) and rollout is not None and rollout.serving.live == newest.version:
            raise  # it is the newest, and loading it once more would only say the same twice
        _log.warning("what is to be served cannot be, so the newest bundle is: %s", error.for_log)
        await bundles.load(newest.version)
    else:
        if newest.version not in rollout.serving.versions:
            _log.info("%s is served, as it was asked for; %s is newer", rollout.serving.live, newest.version)


def _replaced(rollout: Rollout, newest: ModelVersion, watch: bool) -> bool:
    """Whether this start puts the newest bundle in the place of what was served."""
    free = rollout.serving.split is None and (watch or not rollout.chosen)
    return free and newest.version != rollout.serving.live and newest.order > rollout.newest

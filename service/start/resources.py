"""Event log and model registry that the settings name."""

from __future__ import annotations

from service.core.ports import Bundles
from service.engine import BundleLoader
from service.settings import Settings
from service.store.factory import OpenedStore, open_store


async def open_event_log(settings: Settings) -> OpenedStore:
    """Open the configured store; raises `StoreRefusedError`."""
    url = settings.state_url.get_secret_value()
    return await open_store(url, settings.events_kept, settings.redis_wait, settings.days_kept)


def model_registry(settings: Settings, indexed: bool = True) -> Bundles:
    """Return the configured model registry; no bundle is loaded yet.

    Models that are only checked need no search index (`indexed`).
    """
    return BundleLoader(
        settings.bundle,
        settings.events_kept,
        settings.min_recall,
        settings.signing_key(),
        settings.device,
        indexed,
    )

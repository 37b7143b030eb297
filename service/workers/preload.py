"""Preparation of the fork server, which imports this module.

Nothing here may start a thread that stays, open a connection or read the event log: a fork would copy half of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
from contextlib import suppress

import service.main  # noqa: F401 - for the workers
from model.bundle.sealed_memory import hold_load_lock
from service.demo import BUNDLE
from service.engine.loader import BundleLoader
from service.observability.logging import configure_logging
from service.settings import Settings, load_settings

_log = logging.getLogger(__name__)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def prepare() -> None:
    """Load what the workers share, and prepare this process to be forked."""
    hold_load_lock()  # of its children; it stays open
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        if not settings.state_url.get_secret_value().startswith("sqlite:"):
            import service.store.redis.store  # noqa: F401 - for the workers
        if settings.device == "cpu":
            load_kernels(settings)
    except Exception:  # the workers can do without
        _log.exception("cannot load the kernels before the workers; each worker loads its own")
    os.register_at_fork(after_in_child=stop_with_fork_server)
    gc.collect()
    gc.freeze()  # no collection in a worker writes to the shared pages


def load_kernels(settings: Settings) -> None:
    """Load the CPU engine's kernels, which are the same for every model."""
    loader = BundleLoader(BUNDLE, settings.events_kept, settings.min_recall, None, settings.device)
    asyncio.run(_load_newest(loader))


async def _load_newest(loader: BundleLoader) -> None:
    await loader.load((await loader.published())[-1].version)


def stop_with_fork_server() -> None:
    """Let the system stop this worker when its fork server ends.

    Nobody could tell any more whether it runs: uvicorn would start another worker beside it.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


prepare()

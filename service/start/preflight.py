"""Checks before a start: streams, event log and bundle can be used.

A server of several workers is checked in a process of its own. The parent of the workers then never imports the
engine, which would stay in its memory.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from multiprocessing.connection import Connection

from service.observability.logging import configure_logging
from service.setting_types import StreamAddress
from service.settings import Settings, load_settings, variable_of


class StartupError(Exception):
    """The service cannot start.

    The message is one sentence that says what to do.
    """


def check_start(settings: Settings) -> None:
    """Raise `StartupError` unless the service can start."""
    if settings.workers == 1:
        asyncio.run(_preflight(settings))
        return
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    # A daemon is ended with this process, also if it is told to stop while the engine compiles.
    child = spawn.Process(target=_check_in_child, args=(sender,), daemon=True)
    child.start()
    sender.close()
    try:
        refusal: str | None = receiver.recv()
    except EOFError:
        child.join()
        raise StartupError(f"the check of the start ended with code {child.exitcode}; see the log above.") from None
    child.join()
    if refusal is not None:
        raise StartupError(refusal)


def _check_in_child(sender: Connection) -> None:
    """Send the reason why the service cannot start, or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    settings = load_settings()
    configure_logging(settings.log_level)
    try:
        asyncio.run(_preflight(settings))
    except StartupError as error:
        sender.send(str(error))
    else:
        sender.send(None)


async def _preflight(settings: Settings) -> None:
    """Open and close the streams, the event log and the bundle.

    Raises:
        StartupError: One of them cannot be used.
    """
    # Imported late: with several workers the metrics library reads its environment when it is imported.
    from service.core.errors import BundleRefusedError, StoreUnavailable
    from service.engine import DeviceRefusedError
    from service.store.errors import StoreRefusedError

    for name in ("stream_url", "item_stream_url"):
        address: StreamAddress | None = getattr(settings, name)
        try:
            if address is not None:
                from service.store.streams.redis_stream import open_stream

                source = await open_stream(address.url.get_secret_value(), address.stream, address.group)
                await source.close()
        except StoreRefusedError as error:
            raise StartupError(f"{variable_of(name)}: {error}") from None
    if settings.item_stream_url is not None and settings.item_stream_url == settings.stream_url:
        raise StartupError(
            "RECBLR_ITEM_STREAM_URL names the stream of RECBLR_STREAM_URL; name another one for items."
        )
    try:
        await _check_event_log(settings)
    except StoreRefusedError as error:
        raise StartupError(f"RECBLR_STATE_URL: {error}") from None
    except StoreUnavailable as error:
        raise StartupError(f"RECBLR_STATE_URL: {error.for_log}") from None
    except BundleRefusedError as error:
        raise StartupError(f"RECBLR_BUNDLE: {error.for_log}") from None
    except DeviceRefusedError as error:
        raise StartupError(str(error)) from None


async def _check_event_log(settings: Settings) -> None:
    """Open and close the event log, and choose what to serve.

    A start that fails leaves no empty log behind.
    """
    from service.core.rollout.startup import choose_startup_version
    from service.start.resources import model_registry, open_event_log
    from service.store.factory import log_exists, remove_unused_log

    bundles = model_registry(settings, indexed=False)
    url = settings.state_url.get_secret_value()
    existed = log_exists(url)
    checked = None
    if not existed:  # load what a new log will serve before it is created
        checked = (await bundles.published())[-1].version
        await bundles.load(checked)
    has_started = False
    try:
        store = await open_event_log(settings)
        try:
            await choose_startup_version(store, bundles, settings.watch, checked)
        finally:
            await store.close()
        has_started = True
    finally:
        if not existed and not has_started:  # such as on a full disk
            remove_unused_log(url)

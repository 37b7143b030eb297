"""Command line of the server: `recblr-serve`.

It checks settings, event log, stream and bundle before it serves, so that a wrong configuration ends with one
sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import nullcontext
from types import FrameType

import uvicorn

from model.bundle.sealed_memory import hold_load_lock
from service.api.connection.limits import listen_backlog
from service.api.uvicorn_protocol import HttpProtocol
from service.api_keys import SCOPE_NAMES, RetiredScopeError, new_key, parse_scopes
from service.demo import demo_environment
from service.key_file import KeyFileError, KeyRing
from service.kubernetes import drop_injected
from service.observability.logging import configure_logging
from service.settings import Settings, SettingsError, load_settings
from service.settings_reference import settings_help
from service.start.preflight import StartupError, check_start
from service.temporary_folder import shared_metrics_folder
from service.workers.fork_server import fork_workers

_log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT_SECONDS = 20
# Longer than the 60 s for which common balancers and pools keep an idle connection. If the server closes a connection
# first, the client's next request on it fails (decision 0077).
KEEP_ALIVE_SECONDS = 75
_ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def main() -> int:
    """Run the command; return the exit code."""
    arguments = _parse_arguments()
    if arguments.new_key is not None:
        return _print_new_key(arguments.new_key)
    # SIGTERM is a normal stop, also before uvicorn installs its own handler.
    signal.signal(signal.SIGTERM, _exit)
    try:
        with demo_environment() if arguments.demo else nullcontext():
            injected = drop_injected(os.environ)
            settings = load_settings()
            configure_logging(settings.log_level)
            if injected:
                _log.info("ignored variables that Kubernetes injects", extra={"names": " ".join(injected)})
            if arguments.precompile:
                asyncio.run(_precompile(settings))
                return 0
            check_openness(settings)
            _check_key_file(settings)
            check_port(settings.host, settings.port)
            if settings.workers == 1:
                # Collections would scan the modules while they are imported, a tenth of the start.
                # `main.start_services` turns them on again.
                gc.disable()
            with shared_metrics_folder(settings.workers):
                check_start(settings)
                _serve(settings)
    except (SettingsError, StartupError) as error:
        print(f"recblr-serve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def check_openness(settings: Settings) -> None:
    """Raise `StartupError` if anybody on the network could call without a key."""
    has_keys = KeyRing(settings.api_keys, settings.api_keys_file).configured
    if settings.host in _ALL_ADDRESSES and not (has_keys or settings.open_to_network):
        raise StartupError(
            f"RECBLR_HOST={settings.host} opens the server to the network without keys: set RECBLR_API_KEYS (see "
            "recblr-serve --new-key), or RECBLR_OPEN_TO_NETWORK=true if every machine there may read and delete."
        )


def check_port(host: str, port: int) -> None:
    """Raise `StartupError` unless a server can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does
            probe.bind(address)
            probe.listen(1)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not a host name"
        raise StartupError(
            f"cannot listen on {host} port {port} ({reason}): choose others with RECBLR_HOST and RECBLR_PORT, "
            "or stop the process that uses the port."
        ) from None


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="recblr-serve",
        description="Serve recommendations over HTTP. Environment variables are the configuration:\n\n"
        f"{settings_help()}",
        epilog="The running server describes its API at /docs.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--new-key",
        metavar="SCOPES",
        help=f"create an API key with these scopes ({SCOPE_NAMES}, joined by +), print it and its entry for "
        "RECBLR_API_KEYS, and exit",
    )
    action.add_argument(
        "--demo",
        action="store_true",
        help="serve a small model of an invented shop, which needs no clone and no RECBLR_BUNDLE; without "
        "RECBLR_STATE_URL the events are forgotten when the service stops",
    )
    action.add_argument(
        "--precompile",
        action="store_true",
        help="compile the engine's kernels for the newest model version in RECBLR_BUNDLE, keep the machine code in "
        "the folder NUMBA_CACHE_DIR, and exit; later starts then need no compilation",
    )
    return parser.parse_args()


def _print_new_key(scopes: str) -> int:
    try:
        key, entry = new_key(parse_scopes(scopes))
    except RetiredScopeError as error:
        print(f"recblr-serve: --new-key: {error}.", file=sys.stderr)
        return 2
    except ValueError:
        print(
            f"recblr-serve: --new-key takes scopes of {SCOPE_NAMES}, joined by +, such as append+read",
            file=sys.stderr,
        )
        return 2
    print(f"give the client:         {key}\nadd to RECBLR_API_KEYS:  {entry}")
    return 0


def _check_key_file(settings: Settings) -> None:
    try:
        KeyRing(settings.api_keys, settings.api_keys_file).load()
    except KeyFileError as error:
        raise StartupError(f"RECBLR_API_KEYS_FILE: {error}: correct the file, or unset the variable.") from None


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


async def _precompile(settings: Settings) -> None:
    from model.compiled.jit import statistics
    from service.core.errors import BundleRefusedError
    from service.engine import DeviceRefusedError
    from service.start.resources import model_registry

    bundles = model_registry(settings)
    try:
        newest = (await bundles.published())[-1].version
        await bundles.load(newest)
    except BundleRefusedError as error:
        raise StartupError(f"RECBLR_BUNDLE: {error.for_log}") from None
    except DeviceRefusedError as error:
        raise StartupError(str(error)) from None
    for kernel, (cached, compiled) in sorted(statistics().items()):
        print(f"{kernel}: {compiled} compiled, {cached} already in the cache")
    print(f"model version {newest}: {sum(compiled for _, compiled in statistics().values())} kernels compiled")


def _serve(settings: Settings) -> None:
    hold_load_lock()  # until this process ends; the workers find it where they are its children
    fork_workers()
    uvicorn.run(
        "service.main:app_from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        log_level=settings.log_level,
        http=HttpProtocol,
        ws="none",  # no route is a WebSocket
        backlog=listen_backlog(),
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing uses the client's address or scheme, and parsing costs each request
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )


if __name__ == "__main__":
    sys.exit(main())

"""`recblr-serve`: check what can be checked, then serve. A wrong start ends with one sentence and exit code 2."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from service.api.uvicorn_protocol import HttpProtocol
from service.api_keys import new_key, parse_scopes
from service.observability.logging import configure_logging
from service.settings import Settings, SettingsRefused, describe_settings, load_settings

_DRAIN_SECONDS = 20
# Longer than the 60 s for which the usual balancers and pools keep an idle connection: whoever hangs up first must be
# the client, or its next request meets a closed socket and gets no answer.
_IDLE_SECONDS = 75


class StartRefused(Exception):
    """The service cannot start; the message is one sentence that says what to do."""


def main() -> int:
    """Run the command; the exit code."""
    arguments = _read_arguments()
    if arguments.new_key is not None:
        return _print_new_key(arguments.new_key)
    # A stop that is asked for is a success, before and after uvicorn takes over the signal.
    signal.signal(signal.SIGTERM, _stop)
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        check_port(settings.host, settings.port)
        with _shared_metrics(settings.workers):
            asyncio.run(_preflight(settings))
            _serve(settings)
    except (SettingsRefused, StartRefused) as error:
        print(f"recblr-serve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def check_port(host: str, port: int) -> None:
    """Raise `StartRefused` unless a server can listen there."""
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
        raise StartRefused(
            f"cannot listen on {host} port {port} ({reason}): choose others with RECBLR_HOST and RECBLR_PORT, "
            "or stop what listens there."
        ) from None


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="recblr-serve",
        description="Serve recommendations over HTTP. Everything is set through environment variables:\n\n"
        f"{describe_settings()}",
        epilog="The API describes itself at /docs of the running server.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--new-key",
        metavar="SCOPES",
        help="make an API key with these scopes (read, write, admin; joined by +), print it and its entry for "
        "RECBLR_API_KEYS, and stop",
    )
    return parser.parse_args()


def _print_new_key(scopes: str) -> int:
    try:
        key, entry = new_key(parse_scopes(scopes))
    except ValueError:
        print(
            "recblr-serve: --new-key takes scopes of read, write and admin, joined by +: read+write", file=sys.stderr
        )
        return 2
    print(f"give the client:         {key}\nadd to RECBLR_API_KEYS:  {entry}")
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


async def _preflight(settings: Settings) -> None:
    """Open and close the event log, the stream and the bundle here, where a failure can still be one sentence."""
    # Imported late: with several workers the metrics library must find its environment first.
    from service.core.errors import StoreUnavailable
    from service.core.ports import BundleRefusedError
    from service.core.rollout.startup import settle
    from service.engine import DeviceRefusedError
    from service.main import model_registry, open_event_log
    from service.store.errors import StoreRefusedError
    from service.store.streams.redis_stream import open_stream

    if settings.stream_url is not None:
        try:
            address = settings.stream_url
            source = await open_stream(address.url.get_secret_value(), address.stream, address.group)
            await source.close()
        except StoreRefusedError as error:
            raise StartRefused(f"RECBLR_STREAM_URL: {error}") from None
    try:
        store = await open_event_log(settings)
        try:
            await settle(store, model_registry(settings), settings.watch)
        finally:
            await store.close()
    except (StoreRefusedError, StoreUnavailable) as error:
        raise StartRefused(f"RECBLR_STATE_URL: {error}") from None
    except BundleRefusedError as error:
        raise StartRefused(f"RECBLR_BUNDLE: {error.for_log}") from None
    except DeviceRefusedError as error:
        raise StartRefused(str(error)) from None


def _serve(settings: Settings) -> None:
    uvicorn.run(
        "service.main:app_from_environment",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        log_config=None,
        log_level=settings.log_level,
        http=HttpProtocol,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for a client's address or scheme, and looking costs each request
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


@contextmanager
def _shared_metrics(workers: int) -> Iterator[None]:
    """A folder in which the workers' metrics meet, for as long as there is more than one."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="recblr-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


if __name__ == "__main__":
    sys.exit(main())

"""The composition root: the one place where concrete classes meet.

How `POST /v1/events?k=10` flows:

    uvicorn -> api.edge -> api.auth -> api.limits -> api.events          HTTP becomes a use case
                                                        |
                                            core.recommender.record
                     1. visit the log   |                       |   2. fold and score
                              batcher "visits"            batcher "turns"
                                        |                       |
                        store.visit, one round trip      engine.run; what takes long, in a thread of its own
                        for all that arrived meanwhile   for all that arrived meanwhile
                                                        |
                     3. the answer goes out; core.memo_writer stores the new state in the background

Everything before the batchers runs on the event loop and touches one request; the batchers are where requests
that are under way at the same time share work. RolloutManager says which engine is a user's, and exchanges the models of
all workers together. No request waits for what runs beside: Housekeeper removes what is too old and finishes merges
that were cut off, StreamConsumer records a stream's events as if they had come over HTTP, and Warmer rebuilds memos after
an exchange of models. `open_services` below builds all this in that order and takes it down in reverse, so that
whatever was accepted is finished before what it needs is closed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from service.api.app import build_api
from service.api.dependencies import Services
from service.api.stream_parser import StreamParser
from service.core.errors import StoreUnavailable
from service.core.jobs.backfill import BackfillJob
from service.core.jobs.maintenance import Maintenance
from service.core.jobs.stream_consumer import StreamConsumer, StreamMeter
from service.core.ports import Bundles, Store
from service.core.recommending.batching import MicroBatcher
from service.core.recommending.evaluation_sampling import Sampling
from service.core.recommending.recommender import Recommender
from service.core.recommending.snapshot_writer import SnapshotWriter
from service.core.rollout.manager import RolloutManager
from service.engine import BundleLoader, run_engine_requests, run_similar
from service.observability.instrumented_store import InstrumentedStore
from service.observability.logging import configure_logging
from service.observability.metrics import PrometheusMeter
from service.setting_types import StreamAddress
from service.settings import Settings, load_settings
from service.store.errors import StoreUnreachableError
from service.store.factory import open_store
from service.store.streams.redis_stream import open_stream

_log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

CONSOLE = Path(__file__).parent / "console" / "index.html"

# A batch is as large as what arrived while the last one ran; these bound the time one batch may take. The queues
# hold a full batch request (1,000 users) several times over.
APPENDS_PER_BATCH = 128
ENGINE_REQUESTS_PER_BATCH = 64
SIMILAR_PER_BATCH = 8
LONGEST_QUEUE = 4096
# Seconds of the engine's work that the event loop does itself. Handing it to a thread and taking the GIL back after
# each kernel costs more than a small batch (decision 0039).
LONGEST_INLINE = 2e-3
# Seconds after which a thread that runs Python lets another one. The engine's takes the GIL back after each kernel,
# and the interpreter's own 5 ms is what it would wait each time while the event loop is busy.
LONGEST_TURN = 0.2e-3
MAX_WAITING_SNAPSHOTS = 16_384
# Seconds. A process that is killed has this much more to fold again, and a user's next event one fold more.
SNAPSHOT_LINGER_SECONDS = 0.05
START_PAUSE_SECONDS = 0.2  # between two attempts to start where the event log is away


def create_app(settings: Settings) -> FastAPI:
    """The application of one server process. It opens nothing before it is started."""
    meter = PrometheusMeter()
    return build_api(
        partial(start_services, settings, meter),
        meter,
        CONSOLE,
        keys=settings.api_keys,
        rate_limit=settings.requests_per_second,
        origins=settings.cors_origins,
    )


def app_from_environment() -> FastAPI:
    """The factory that uvicorn calls in each worker process."""
    sys.setswitchinterval(LONGEST_TURN)
    settings = load_settings()
    configure_logging(settings.log_level)
    return create_app(settings)


@asynccontextmanager
async def start_services(settings: Settings, meter: PrometheusMeter) -> AsyncIterator[Services]:
    """As `open_services`, once the event log answers.

    The process that started this one has seen it answer, so it is no wrong setting that keeps it away. A worker that
    died meanwhile must not fail to start: uvicorn would take the whole service down with it.
    """
    async with AsyncExitStack() as closing:
        while True:
            try:
                services = await closing.enter_async_context(open_services(settings, meter))
                break
            except (StoreUnavailable, StoreUnreachableError) as error:
                if _stop_was_asked():
                    raise
                _log.warning("waiting for the event log", extra={"reason": str(error)})
            await asyncio.sleep(START_PAUSE_SECONDS)
        yield services


def _stop_was_asked() -> bool:
    """uvicorn's handler of signals leaves a note on its server, which is read when the start has ended."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


@asynccontextmanager
async def open_services(settings: Settings, meter: PrometheusMeter) -> AsyncIterator[Services]:
    """The running service, ready and warm; raises `StoreRefusedError`, `StoreUnavailable` or `BundleRefusedError`."""
    async with AsyncExitStack() as closing:
        # Workers share the machine's cores: a BLAS that starts a thread for each core makes them fight.
        closing.enter_context(threadpool_limits(limits=1, user_api="blas"))
        store = InstrumentedStore(await open_log(settings), meter)
        closing.push_async_callback(store.close)
        models = await _open_models(settings, store, meter, closing)
        recommender = _open_recommender(settings, store, models, meter, closing)
        await _start_what_runs_beside(settings, store, models, recommender, meter, closing)
        # What is alive now lives as long as the process. Left to the collector, a full pass over it holds every
        # request up for 65 to 250 ms, again and again.
        gc.collect()
        gc.freeze()
        _log.info("ready: the API is described at %s", docs_url(settings), extra={"model": models.live.version})
        yield Services(recommender, models, store)
        _log.info("stopping: finishing what was accepted", extra={"pid": os.getpid()})


async def _open_models(
    settings: Settings, store: Store, meter: PrometheusMeter, closing: AsyncExitStack
) -> RolloutManager:
    """The engines that answer, loaded, and exchanged from now on as the note in the store says."""
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    models = RolloutManager(bundle_folder(settings), store, name, meter, watch=settings.watch)
    await models.start()
    closing.push_async_callback(models.close)
    return models


def _open_recommender(
    settings: Settings, store: Store, models: RolloutManager, meter: PrometheusMeter, closing: AsyncExitStack
) -> Recommender:
    """The use cases, with a batcher for each kind of work that requests share."""
    # One thread: the engine's arithmetic holds a core, and a second one would only take turns with it.
    thread = closing.enter_context(ThreadPoolExecutor(1, thread_name_prefix="engine"))

    def batcher(
        stage: str, run: Callable[[Sequence[Job]], Awaitable[Sequence[Result | Exception]]], max_batch: int
    ) -> MicroBatcher[Job, Result]:
        made = MicroBatcher(run, max_batch=max_batch, max_queue=LONGEST_QUEUE, meter=meter.stage(stage))
        closing.push_async_callback(made.close)
        return made

    turns = batcher("turns", partial(run_engine_requests, thread, LONGEST_INLINE), ENGINE_REQUESTS_PER_BATCH)
    similar = batcher("similar", partial(run_similar, thread), SIMILAR_PER_BATCH)
    visits = batcher("visits", store.append_and_read, APPENDS_PER_BATCH)
    recommender = Recommender(
        store,
        models,
        SnapshotWriter(store, max_waiting=MAX_WAITING_SNAPSHOTS, linger=SNAPSHOT_LINGER_SECONDS),
        meter,
        append_and_read=visits.submit,
        fold=turns.submit,
        fold_aside=turns.submit_aside,
        similar=similar.submit,
        patience=settings.deadline,
        sampling=Sampling(settings.accuracy_sample),
    )
    closing.push_async_callback(recommender.close)
    return recommender


async def _start_what_runs_beside(
    settings: Settings,
    store: Store,
    models: RolloutManager,
    recommender: Recommender,
    meter: PrometheusMeter,
    closing: AsyncExitStack,
) -> None:
    """What no request waits for: retention and merges that were cut off, a stream's events, memos' rebuilds."""
    maintenance = Maintenance(store, remove_expired=settings.days_kept is not None, events_kept=settings.events_kept)
    closing.push_async_callback(maintenance.close)
    maintenance.start()
    if settings.stream_url is not None:
        consumer = await _open_consumer(settings.stream_url, recommender, meter.stream)
        closing.push_async_callback(consumer.close)
        consumer.start()
    if settings.backfill_share:
        backfill = BackfillJob(store, models, meter.backfill, max_fraction=settings.backfill_share)
        closing.push_async_callback(backfill.close)
        backfill.start()


async def _open_consumer(address: StreamAddress, recommender: Recommender, meter: StreamMeter) -> StreamConsumer:
    source = await open_stream(address.url.get_secret_value(), address.stream, address.group)
    return StreamConsumer(source, StreamParser(address.stream), recommender, meter)


def docs_url(settings: Settings) -> str:
    """Where a person on this machine finds the API's page."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/docs"


async def open_log(settings: Settings) -> Store:
    """The store that the settings name; raises `StoreRefusedError`."""
    url = settings.state_url.get_secret_value()
    return await open_store(url, settings.events_kept, settings.redis_wait, settings.days_kept)


def bundle_folder(settings: Settings) -> Bundles:
    """The bundles that the settings name, none of them loaded yet."""
    return BundleLoader(
        settings.bundle, settings.events_kept, settings.min_recall, settings.signing_key(), settings.device
    )

"""Composition root: the one module that connects concrete classes.

How `POST /v1/events?k=10` flows:

    uvicorn, api.uvicorn_protocol
       |
    api.middleware: telemetry -> auth (host, keys, scopes, rate limit) -> fast_path
       |                                                               |
       |  an ordinary event or recommendation                          |  every other request
       |                                                               v
       |                                          body_limit -> FastAPI -> api.routes
       v                                                               |
    api.answers.answer_event  <----------------------------------------'
       |
    Recommender.record
       |-- 1. BatchedStore.append_and_read   one round trip for all requests that arrived during the last one:
       |        InstrumentedStore -> RedisStore or SqliteStore
       |-- 2. BatchedEngine.run              one batch likewise, in the engine thread if it takes long:
       |        CpuEngine or CudaEngine: replay the pending events, search the top 10
       `-- 3. SnapshotWriter.offer           the new state is stored after the answer was sent

The rest runs on the event loop and serves one request. RolloutManager chooses each user's engine. Beside them run
Maintenance (retention), StreamConsumer, BackfillJob and CatalogueSync. They are closed in reverse order.
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
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from service.api.app import build_api
from service.api.dependencies import Services
from service.api.routes.api_docs import docs_url
from service.api.stream_parser import EventEntryParser, ItemEntryParser
from service.api.user_tokens import UserTokens
from service.core.attribution.attribution import AttributionRules, credited_store, open_attribution
from service.core.catalogue.editing.item_editor import ItemEditor
from service.core.errors import StoreUnavailable
from service.core.jobs.backfill import BackfillJob
from service.core.jobs.catalogue_services import CatalogueServices, CatalogueStores, create_catalogue
from service.core.jobs.catalogued_models import CataloguedBundles
from service.core.jobs.maintenance import Maintenance
from service.core.jobs.streams.event_writer import EventWriter
from service.core.jobs.streams.item_writer import ItemWriter
from service.core.jobs.streams.stream_consumer import StreamConsumer, StreamMeter
from service.core.jobs.streams.stream_source import EntryWriter
from service.core.ports import Models, Store
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.eligibility import Eligibility
from service.core.recommending.evaluation_sampling import EvaluationSampler
from service.core.recommending.log_replay.snapshots import SnapshotWriter
from service.core.recommending.recommender import Recommender
from service.core.rollout.manager import RolloutManager
from service.key_file import KeyRing
from service.observability.access_log import AccessLog
from service.observability.instrumented_catalogue import InstrumentedCatalogue
from service.observability.instrumented_item_vectors import InstrumentedItemVectors
from service.observability.instrumented_store import InstrumentedStore
from service.observability.logging import configure_logging
from service.observability.memory_trim import MemoryTrim
from service.observability.metrics import PrometheusMeter
from service.setting_types import StreamAddress
from service.settings import Settings, load_settings
from service.start.resources import model_registry, open_event_log
from service.store.errors import StoreUnreachableError
from service.store.factory import open_column_file

_log = logging.getLogger(__name__)
PAGES = Path(__file__).parent / "console"
# The engine thread takes the GIL back after each kernel. With the interpreter's 5 ms it would wait that long.
GIL_SWITCH_SECONDS = 0.2e-3
# With the interpreter's 700, 10 and 10 each batch of requests began a garbage collection (decision 0136).
COLLECTION_THRESHOLDS = (5_000, 7, 2)
MAX_QUEUED_SNAPSHOTS = 16_384
# Snapshots that are not written when a process is killed are replayed again, at most this much traffic.
SNAPSHOT_DELAY_SECONDS = 0.05
START_RETRY_SECONDS = 0.2
INFO_LEVELS = ("debug", "info")  # log levels at which the access log is written


def create_app(settings: Settings) -> FastAPI:
    """Build the application of one worker; its lifespan opens the services."""
    meter = PrometheusMeter()
    keys = KeyRing(settings.api_keys, settings.api_keys_file)
    keys.load_or_log()
    return build_api(
        partial(start_services, settings, meter, keys),
        meter,
        PAGES,
        keys=keys,
        tokens=UserTokens([key.get_secret_value().encode() for key in settings.user_token_keys]),
        rate_limit=settings.requests_per_second,
        origins=settings.cors_origins,
        hosts=(settings.host, *settings.allowed_hosts),
        root_path=settings.root_path or "",
        access_log=AccessLog(sys.stderr.write) if settings.access_log and settings.log_level in INFO_LEVELS else None,
    )


def app_from_environment() -> FastAPI:
    """Build the application from the environment; uvicorn calls this in each worker."""
    sys.setswitchinterval(GIL_SWITCH_SECONDS)
    gc.set_threshold(*COLLECTION_THRESHOLDS)
    settings = load_settings()
    configure_logging(settings.log_level)
    return create_app(settings)


@asynccontextmanager
async def start_services(settings: Settings, meter: PrometheusMeter, keys: KeyRing) -> AsyncIterator[Services]:
    """Open the services, and retry until the event log answers.

    The parent process has checked the event log, so an error is an outage, and must not stop the whole service.
    """
    async with AsyncExitStack() as closing:
        closing.push_async_callback(keys.close)
        keys.watch()
        while True:
            try:
                services = await closing.enter_async_context(open_services(settings, meter))
                break
            except (StoreUnavailable, StoreUnreachableError) as error:
                if _stop_requested():
                    raise
                _log.warning("cannot reach the event log; retrying", extra={"reason": str(error)})
            finally:
                gc.enable()  # `__main__` has turned it off
            await asyncio.sleep(START_RETRY_SECONDS)
        yield services


def _stop_requested() -> bool:
    """Return whether uvicorn received SIGTERM, which it heeds after the start."""
    return bool(getattr(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), "should_exit", False))


@asynccontextmanager
async def open_services(settings: Settings, meter: PrometheusMeter) -> AsyncIterator[Services]:
    """Open the running service, ready and warm.

    Raises `StoreRefusedError`, `StoreUnavailable` or `BundleRefusedError` if no model version can be loaded.
    """
    async with AsyncExitStack() as closing:
        # Workers share the machine's cores, so BLAS must not start a thread for each core in every worker.
        closing.enter_context(threadpool_limits(limits=1, user_api="blas"))
        opened = await open_event_log(settings)
        store = InstrumentedStore(opened, meter.store)
        closing.push_async_callback(store.close)
        items = InstrumentedCatalogue(opened.catalogue, meter.store)
        columns = open_column_file(settings.state_url.get_secret_value(), settings.catalogue_folder)
        stores = CatalogueStores(items, InstrumentedItemVectors(opened.item_vectors, meter.store), columns)
        catalogue = create_catalogue(stores, meter.catalogue, settings.catalogue == "listed", closing)
        bundles = CataloguedBundles(model_registry(settings), catalogue.copy, catalogue.vectors)
        name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        models = RolloutManager(bundles, store, name, meter, watch=settings.watch, is_complete=bundles.is_complete)
        await models.start()
        closing.push_async_callback(models.close)
        await catalogue.start(bundles.loadable)
        recommender = _open_recommender(settings, store, models, catalogue, meter, closing)
        await _start_jobs(settings, store, models, catalogue, meter, closing)
        await _start_streams(settings, recommender, catalogue.items, meter, closing)
        # What is alive now lives as long as the process. To scan it would stop every request for 65 to 250 ms.
        gc.collect()
        gc.freeze()
        url = docs_url(settings.host, settings.port)
        _log.info("service is ready; API docs at %s", url, extra={"model": models.live.version})
        yield Services(recommender, models, store, catalogue)
        _log.info("service is stopping; finishing accepted requests", extra={"pid": os.getpid()})


def _open_recommender(
    settings: Settings,
    store: Store,
    models: Models,
    catalogue: CatalogueServices,
    meter: PrometheusMeter,
    closing: AsyncExitStack,
) -> Recommender:
    batched_engine = BatchedEngine(*[meter.batching.stage(name) for name in ("engine", "similar", "engine_long")])
    closing.push_async_callback(batched_engine.close)
    attribution = open_attribution(AttributionRules(*settings.attribution_rules()), models)
    batched_store = BatchedStore(credited_store(store, attribution), meter.batching.stage("append_and_read"))
    closing.push_async_callback(batched_store.close)
    recommender = Recommender(
        store,
        batched_store,
        batched_engine,
        models,
        SnapshotWriter(store, max_queue=MAX_QUEUED_SNAPSHOTS, delay_seconds=SNAPSHOT_DELAY_SECONDS),
        meter,
        timeout_seconds=settings.deadline,
        sampler=EvaluationSampler(settings.accuracy_sample),
        eligibility=Eligibility(catalogue.copy),
        new_items=catalogue.vectors,
        attribution=attribution,
    )
    closing.push_async_callback(recommender.close)
    return recommender


async def _start_jobs(
    settings: Settings,
    store: Store,
    models: RolloutManager,
    catalogue: CatalogueServices,
    meter: PrometheusMeter,
    closing: AsyncExitStack,
) -> None:
    """Start maintenance, and if configured the backfill."""
    maintenance = Maintenance(store, remove_expired=settings.days_kept is not None, events_kept=settings.events_kept)
    jobs: list[MemoryTrim | Maintenance | BackfillJob] = [MemoryTrim(), maintenance]
    if settings.backfill_share:
        jobs.append(
            BackfillJob(store, models, meter.backfill, catalogue.vectors, max_fraction=settings.backfill_share)
        )
    for job in jobs:
        closing.push_async_callback(job.close)
        job.start()


async def _start_streams(
    settings: Settings, recommender: Recommender, items: ItemEditor, meter: PrometheusMeter, closing: AsyncExitStack
) -> None:
    """Start the consumers of the configured streams."""
    consumed: list[tuple[StreamAddress, EntryWriter, StreamMeter]] = []
    if (address := settings.stream_url) is not None:
        consumed.append((address, EventWriter(EventEntryParser(address.stream), recommender), meter.stream))
    if (address := settings.item_stream_url) is not None:
        consumed.append((address, ItemWriter(ItemEntryParser(), items), meter.item_stream))
    for address, writer, stream_meter in consumed:
        from service.store.streams.redis_stream import open_stream  # late: a start on SQLite needs no Redis library

        source = await open_stream(address.url.get_secret_value(), address.stream, address.group)
        consumer = StreamConsumer(address.stream, source, writer, stream_meter)
        closing.push_async_callback(consumer.close)
        consumer.start()

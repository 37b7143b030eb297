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
that are under way at the same time share work. `open_services` below builds these parts from left to right and takes
them down in reverse, so that whatever was accepted is finished before what it needs is closed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from service.api.app import build_api
from service.api.logs import configure_logging
from service.api.metered_store import MeteredStore
from service.api.metrics import PrometheusMeter
from service.api.serving import Services
from service.api.stream_entries import parse_entry
from service.batching import MicroBatcher
from service.core.accuracy import Sampling
from service.core.consumer import Consumer, StreamMeter
from service.core.errors import StoreUnavailable
from service.core.events import Snapshot, Visit
from service.core.housekeeper import Housekeeper
from service.core.live_models import LiveModels
from service.core.memo_writer import MemoWriter
from service.core.ports import Bundles, EngineJob, Folded, ScoredItem, SimilarJob, Turn
from service.core.recommender import Recommender
from service.core.store_port import Store
from service.core.warmer import Warmer
from service.engine import BundleFolder
from service.settings import Settings, StreamAddress, load_settings
from service.store import StoreUnreachable, open_store, open_stream

_log = logging.getLogger(__name__)

CONSOLE = Path(__file__).parent / "console" / "index.html"

# A batch is as large as what arrived while the last one ran; these bound the time one batch may take. The queues
# hold a full batch request (1,000 users) several times over.
VISITS_PER_BATCH = 128
TURNS_PER_BATCH = 64
SIMILAR_PER_BATCH = 8
LONGEST_QUEUE = 4096
# Seconds of the engine's work that the event loop does itself. Handing it to a thread and taking the GIL back after
# each kernel costs more than a small batch, and a busy loop lets the thread wait 5 ms for the GIL (DECISIONS.md).
LONGEST_INLINE = 2e-3
MEMOS_WAITING = 16_384
# Seconds. A process that is killed has this much more to fold again, and a user's next event one fold more.
MEMOS_LINGER = 0.01
START_PAUSE_SECONDS = 0.2  # between two attempts to start where the event log is away


def create_app(settings: Settings) -> FastAPI:
    """The application of one server process. It opens nothing before it is started."""
    meter = PrometheusMeter()
    return build_api(
        partial(start_services, settings, meter),
        meter,
        CONSOLE,
        keys=settings.api_keys,
        rate=settings.requests_per_second,
        origins=settings.cors_origins,
    )


def app_from_environment() -> FastAPI:
    """The factory that uvicorn calls in each worker process."""
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
            except (StoreUnavailable, StoreUnreachable) as error:
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
    """The running service, ready and warm; raises `StoreRefused`, `StoreUnavailable` or `BundleRefused`."""
    async with AsyncExitStack() as closing:
        # Workers share the machine's cores: a BLAS that starts a thread for each core makes them fight.
        closing.enter_context(threadpool_limits(limits=1, user_api="blas"))
        store = MeteredStore(await open_log(settings), meter)
        closing.push_async_callback(store.close)
        models = LiveModels(
            bundle_folder(settings),
            store,
            f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}",
            watch=settings.watch,
            switched=meter.models,
        )
        await models.start()
        closing.push_async_callback(models.close)
        # One thread: the engine's arithmetic holds a core, and a second one would only take turns with it.
        thread = closing.enter_context(ThreadPoolExecutor(1, thread_name_prefix="engine"))
        turns: MicroBatcher[EngineJob, Folded] = MicroBatcher(
            partial(run_turns, thread),
            max_batch=TURNS_PER_BATCH,
            max_queue=LONGEST_QUEUE,
            meter=meter.stage("turns"),
        )
        closing.push_async_callback(turns.close)
        similar: MicroBatcher[SimilarJob, tuple[ScoredItem, ...]] = MicroBatcher(
            partial(run_similar, thread),
            max_batch=SIMILAR_PER_BATCH,
            max_queue=LONGEST_QUEUE,
            meter=meter.stage("similar"),
        )
        closing.push_async_callback(similar.close)
        visits: MicroBatcher[Visit, Snapshot] = MicroBatcher(
            store.visit,
            max_batch=VISITS_PER_BATCH,
            max_queue=LONGEST_QUEUE,
            meter=meter.stage("visits"),
        )
        closing.push_async_callback(visits.close)
        memos = MemoWriter(store, max_waiting=MEMOS_WAITING, linger=MEMOS_LINGER)
        recommender = Recommender(
            store,
            models,
            memos,
            meter,
            visit=visits.submit,
            fold=turns.submit,
            fold_aside=turns.submit_aside,
            similar=similar.submit,
            patience=settings.deadline,
            sampling=Sampling(settings.accuracy_sample),
        )
        closing.push_async_callback(recommender.close)
        housekeeper = Housekeeper(store, expires=settings.days_kept is not None, events_kept=settings.events_kept)
        closing.push_async_callback(housekeeper.close)
        housekeeper.start()
        if settings.stream_url is not None:
            consumer = await _open_consumer(settings.stream_url, recommender, meter.stream)
            closing.push_async_callback(consumer.close)
            consumer.start()
        if settings.rebuild_share:
            warmer = Warmer(store, lambda: models.served, meter.rebuild, share=settings.rebuild_share)
            closing.push_async_callback(warmer.close)
            warmer.start()
        # What is alive now lives as long as the process. Left to the collector, a full pass over it holds every
        # request up for 65 to 250 ms, again and again.
        gc.collect()
        gc.freeze()
        _log.info("ready: the API is described at %s", docs_url(settings), extra={"model": models.live.version})
        yield Services(recommender, models, store)
        _log.info("stopping: finishing what was accepted", extra={"pid": os.getpid()})


async def _open_consumer(address: StreamAddress, recommender: Recommender, meter: StreamMeter) -> Consumer:
    source = await open_stream(address.url.get_secret_value(), address.stream, address.group)
    return Consumer(source, partial(parse_entry, address.stream), recommender.record_batch, meter)


async def run_turns(thread: ThreadPoolExecutor, jobs: Sequence[EngineJob]) -> list[Folded | Exception]:
    """Run each job on its engine, those of one engine as one batch; results in the order of the jobs.

    There are two engines only while a reload is under way, when turns begun with the old model are still waiting.
    """
    by_engine: dict[int, list[int]] = {}
    for position, (engine, _) in enumerate(jobs):
        by_engine.setdefault(id(engine), []).append(position)
    results: dict[int, Folded | Exception] = {}
    for positions in by_engine.values():
        engine = jobs[positions[0]][0]
        turns: list[Turn] = [jobs[position][1] for position in positions]
        try:
            if engine.cost(turns) <= LONGEST_INLINE:
                folded = engine.run(turns)
            else:
                folded = await asyncio.get_running_loop().run_in_executor(thread, engine.run, turns)
            results.update(zip(positions, folded, strict=True))
        except Exception as error:  # one engine's failure is not the other's
            results.update(dict.fromkeys(positions, error))
    return [results[position] for position in range(len(jobs))]


async def run_similar(
    thread: ThreadPoolExecutor, jobs: Sequence[SimilarJob]
) -> list[tuple[ScoredItem, ...] | Exception]:
    """Look up one after the other in the engine's own thread; between two batches of these the turns get theirs."""

    def work() -> list[tuple[ScoredItem, ...] | Exception]:
        return [_similar_or_error(job) for job in jobs]

    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _similar_or_error(job: SimilarJob) -> tuple[ScoredItem, ...] | Exception:
    engine, item_id, k = job
    try:
        return engine.similar(item_id, k)
    except Exception as error:  # one item's failure is not the others'
        return error


def docs_url(settings: Settings) -> str:
    """Where a person on this machine finds the API's page."""
    host = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/docs"


async def open_log(settings: Settings) -> Store:
    """The store that the settings name; raises `StoreRefused`."""
    url = settings.state_url.get_secret_value()
    return await open_store(url, settings.events_kept, settings.redis_wait, settings.days_kept)


def bundle_folder(settings: Settings) -> Bundles:
    """The bundles that the settings name, none of them loaded yet."""
    return BundleFolder(
        settings.bundle, settings.events_kept, settings.min_recall, settings.signing_key(), settings.device
    )

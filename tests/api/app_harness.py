"""The HTTP application with a SQLite event log and a fake engine.

Tests are synchronous: each call runs the application's event loop until the response is complete.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from service.api.app import build_api
from service.api.dependencies import Services
from service.api.middleware.auth import ApiKeys
from service.api.middleware.fast_path import FastPath
from service.api.user_tokens import UserTokens
from service.api_keys import parse_key
from service.core.attribution.attribution import AttributionRules, credited_store, open_attribution
from service.core.jobs.catalogue_services import CatalogueStores, create_catalogue
from service.core.ports import Engine, Models, Store
from service.core.recommending.batching import BatchedEngine, BatchedStore
from service.core.recommending.eligibility import Eligibility
from service.core.recommending.log_replay.snapshots import SnapshotWriter
from service.core.recommending.recommender import Recommender
from service.key_file import KeyRing
from service.main import PAGES
from service.observability.access_log import AccessLog
from service.observability.instrumented_store import InstrumentedStore
from service.observability.metrics import PrometheusMeter
from service.store.factory import open_store
from tests.core.fakes import FakeEngine, FakeModels, NullBatchMeter
from tests.core.memory_catalogue import MemoryCatalogue
from tests.core.memory_item_vectors import MemoryItemVectors

T = TypeVar("T")


class AppHarness:
    """One application and its HTTP client."""

    def __init__(
        self,
        folder: Path,
        *,
        keys: tuple[str, ...] = (),
        token_keys: tuple[str, ...] = (),
        id_keys: tuple[str, ...] = (),
        rate_limit: int | None = None,
        origins: tuple[str, ...] = (),
        pages: Path | None = None,
        root_path: str = "",
        engine: Engine | None = None,
        models: Models | None = None,
        store: Store | None = None,
        fast_path: bool = True,
        access_log: AccessLog | None = None,
        ring: KeyRing | None = None,
        stranger_rate: int = 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._given_store = store
        self._id_keys = [key.encode() for key in id_keys]
        self.engine = engine or FakeEngine()
        self.meter = PrometheusMeter()
        self.models = models or FakeModels(self.engine, self.meter.served_versions)
        self.app = build_api(
            self._open,
            self.meter,
            pages or PAGES,
            keys=ring or KeyRing([parse_key(entry, f"key-{position}") for position, entry in enumerate(keys, 1)]),
            tokens=UserTokens([key.encode() for key in token_keys]),
            rate_limit=rate_limit,
            origins=origins,
            root_path=root_path,
            hosts=("test",),
            access_log=access_log,
            clock=clock,
        )
        for layer in self.app.outer_middleware:
            if layer.cls is ApiKeys:
                layer.kwargs["stranger_rate"] = stranger_rate
        if not fast_path:
            self.app.outer_middleware = [layer for layer in self.app.outer_middleware if layer.cls is not FastPath]
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://test"
        )

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Services]:
        opened = self._given_store or await open_store(f"sqlite:///{self._folder}/log.db", 1000)
        store = InstrumentedStore(opened, self.meter.store)
        catalogue = getattr(opened, "catalogue", None) or MemoryCatalogue()
        batched_engine = BatchedEngine(NullBatchMeter(), NullBatchMeter())
        async with AsyncExitStack() as closing:
            stores = CatalogueStores(catalogue, getattr(opened, "item_vectors", None) or MemoryItemVectors())
            services = create_catalogue(stores, self.meter.catalogue, False, closing)
            await services.start()
            for engine in self.models.served:
                await services.copy.add_model(engine.version, engine.item_ids)
            attribution = open_attribution(AttributionRules(self._id_keys), self.models)
            recommender = Recommender(
                store,
                BatchedStore(credited_store(store, attribution), NullBatchMeter()),
                batched_engine,
                self.models,
                SnapshotWriter(store, max_queue=100),
                self.meter,
                eligibility=Eligibility(services.copy),
                attribution=attribution,
            )
            yield Services(recommender, self.models, store, services)
        await recommender.close()
        await batched_engine.close()
        await store.close()

    def start(self) -> Self:
        self._runner.run(self._stack.enter_async_context(self.app.router.lifespan_context(self.app)))
        return self

    def stop(self) -> None:
        """Leave the lifespan; more calls are harmless."""
        self._runner.run(self._stack.aclose())

    def close(self) -> None:
        self.stop()
        self._runner.run(self._client.aclose())
        self._runner.close()

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self.run(self._client.request(method, path, **arguments))

    @property
    def recommender(self) -> Recommender:
        services: Services = self.app.state.services
        return services.recommender

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the application's event loop."""
        return self._runner.run(work)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.call("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.call("POST", path, **arguments)

    def delete(self, path: str, **arguments: Any) -> httpx.Response:
        return self.call("DELETE", path, **arguments)

    def refused(self, status: int, response: httpx.Response) -> dict[str, Any]:
        """Return the error of `response`; assert its status and its shape."""
        assert response.status_code == status, response.text
        body = response.json()
        assert set(body) == {"error"}
        error: dict[str, Any] = body["error"]
        assert {"code", "message"} <= set(error) <= {"code", "message", "details"}
        assert error["message"]
        for detail in error.get("details", ()):
            assert {"field", "problem"} <= set(detail)
            assert set(detail) <= {"field", "problem", "offset", "line", "column", "suggestion"}
        return error


def send_event(harness: AppHarness, item_id: str, user_id: str = "u", query: str = "", **more: Any) -> dict[str, Any]:
    """Record one event; return the body of the response."""
    response = harness.post(f"/v1/events{query}", json={"user_id": user_id, "item_id": item_id, **more})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body

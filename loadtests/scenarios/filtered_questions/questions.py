"""Questions under filters over HTTP, and the answers to expect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.environment.items_with_preferences import KINDS, Floats, Kind, TastefulItems
from loadtests.generator.catalogue_filling import put_items, request_until_accepted
from loadtests.generator.http_client import Request, make_request, request_json
from model.bundle.bundle import load_bundle
from model.state_layout import StateLayout
from service.core.engine_requests import AllowedRows, EngineRequest, EngineResult, TopK
from service.core.errors import StateDamagedError
from service.engine.cpu.cpu_engine import CpuEngine

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001, 0.0001)
FILTERS, USERS, K = 20, 200, 10
EVENTS = 12  # of each user
_EVENTS_KEPT = 1000


class Questions:
    """Users with tastes, their filters, and the answers to expect.

    Users n, n + 20, n + 40, … share a taste and filters.
    """

    def __init__(self, bundle: Path, ids: Sequence[str], seed: int) -> None:
        loaded = load_bundle(bundle)
        self._ids, self._items = ids, TastefulItems(loaded.weights["item_embedding.weight"])
        self._rows = {item_id: row for row, item_id in enumerate(ids, start=1)}
        self._engine = CpuEngine(loaded, _EVENTS_KEPT, min_indexed_items=len(ids) + 1)
        rng = np.random.default_rng(seed)
        tastes = [self._items.rows_of(category) for category in rng.permutation(self._items.category[1:])[:FILTERS]]
        self._histories = [
            tuple(ids[row - 1] for row in rng.choice(tastes[user % FILTERS], EVENTS)) for user in range(USERS)
        ]
        layout = StateLayout.of(loaded.config)
        self._vectors: list[Floats] = [
            layout.output(self._run(EngineRequest(None, items, None)).state) for items in self._histories[:FILTERS]
        ]

    def _run(self, request: EngineRequest) -> EngineResult:
        (result,) = self._engine.run([request])
        if isinstance(result, StateDamagedError):
            raise result
        return result

    def put(self, port: int) -> None:
        """Put entries, filters and events."""
        for name in ("category", "price"):
            request_json(
                port, "PUT", f"/v1/attributes/{name}", {"type": "string" if name == "category" else "number"}
            )
        put_items(
            port,
            (
                {"item_id": item_id, "attributes": self._items.attributes_of(row)}
                for row, item_id in enumerate(self._ids, start=1)
            ),
        )
        for kind in KINDS:
            for selectivity in SELECTIVITIES:
                for number in range(FILTERS):
                    chosen = self._items.chosen(kind, selectivity, self._vectors[number], number)
                    path = f"/v1/filters/{_name(kind, selectivity, number)}"
                    request_until_accepted(port, "PUT", path, {"expression": chosen.expression})
        for user, history in enumerate(self._histories):
            for item_id in history:
                request_until_accepted(port, "POST", "/v1/events", {"user_id": f"u{user}", "item_id": item_id})

    def requests(self, kind: Kind | None = None, selectivity: float = 1.0) -> list[Request]:
        """Prepare a question of each user; no kind, no filter."""
        path = f"/v1/users/u{{}}/recommendations?k={K}"
        return [
            make_request(
                "read",
                "GET",
                path.format(user)
                + ("" if kind is None else f"&filter_name={_name(kind, selectivity, user % FILTERS)}"),
            )
            for user in range(USERS)
        ]

    def check(self, port: int, kind: Kind, selectivity: float) -> dict[str, Any]:
        """Ask as the first users; return recall and forbidden items."""
        found, wanted, forbidden = 0, 0, 0
        for user in range(FILTERS):
            chosen = self._items.chosen(kind, selectivity, self._vectors[user], user)
            mask = self._items.allowed(chosen)
            path = f"/v1/users/u{user}/recommendations?k={K}&filter_name={_name(kind, selectivity, user)}"
            answer = [item["item_id"] for item in request_json(port, "GET", path)["items"]]
            query = TopK(K, exclude_seen=True, allowed=AllowedRows.of(mask))
            exact = self._run(EngineRequest(None, self._histories[user], query)).items
            expected = {item.item_id for item in exact}
            found, wanted = found + len(expected & set(answer)), wanted + len(expected)
            forbidden += sum(not mask[self._rows[item_id]] for item_id in answer)
        return {"recall@10": round(found / max(1, wanted), 4), "forbidden": forbidden}


def _name(kind: Kind, selectivity: float, number: int) -> str:
    return f"{kind}_{round(1 / selectivity)}_{number}"

"""Replay real histories against a running server, and compare its answers with the offline evaluation.

    python -m loadtests.offline_parity DATA --bundle BUNDLE --users 1000 --last 60

Every event of a history is posted in order; before the last one the top 20 are asked for, with seen items kept and
without. The same histories are then ranked offline by the torch network of the same bundle. The last line printed
is JSON with both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from model.bundle.bundle import BundleError
from model.training.data.interactions import Interactions, read_interactions
from model.training.errors import DataError
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.leave_one_out import Ranks, leave_one_out

DEPTH = 20


@dataclass(frozen=True, slots=True)
class Replayed:
    """Positions of the true last item in the two answers, DEPTH + 1 where it is not among them."""

    kept: int
    masked: int


def sample(data: Interactions, users: int, last: int, seed: int) -> Interactions:
    """The last `last` events of `users` users drawn without repetition."""
    eligible = np.flatnonzero(data.lengths >= 2)
    chosen = np.random.default_rng(seed).choice(eligible, min(users, len(eligible)), replace=False)
    parts = [data.rows[max(data.offsets[u], data.offsets[u + 1] - last) : data.offsets[u + 1]] for u in chosen]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return Interactions(np.concatenate(parts), offsets, data.item_ids, [data.user_ids[u] for u in chosen])


async def _replay_user(client: httpx.AsyncClient, user_id: str, items: list[str]) -> Replayed:
    for number, item_id in enumerate(items[:-1]):
        event = {"user_id": user_id, "item_id": item_id, "event_id": f"{number}"}
        (await client.post("/v1/events", json=event)).raise_for_status()
    positions = []
    for exclude_seen in ("false", "true"):
        answer = await client.get(
            f"/v1/users/{user_id}/recommendations", params={"k": DEPTH, "exclude_seen": exclude_seen}
        )
        answer.raise_for_status()
        body = answer.json()
        if body["sequence"] != len(items) - 1:
            raise RuntimeError(f"{user_id}: the answer reflects {body['sequence']} of {len(items) - 1} events")
        ids = [item["item_id"] for item in body["items"]]
        positions.append(ids.index(items[-1]) + 1 if items[-1] in ids else DEPTH + 1)
    last = {"user_id": user_id, "item_id": items[-1], "event_id": f"{len(items) - 1}"}
    (await client.post("/v1/events", json=last)).raise_for_status()
    return Replayed(*positions)


async def replay(url: str, api_key: str | None, histories: list[list[str]], concurrency: int) -> list[Replayed]:
    """Replay all histories, `concurrency` users at a time, under user ids of this run alone."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    run = uuid.uuid4().hex[:8]
    gate = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:

        async def one(number: int, items: list[str]) -> Replayed:
            async with gate:
                return await _replay_user(client, f"replay-{run}-{number}", items)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number, items)) for number, items in enumerate(histories)]
            for task in track(tasks, "replaying", console=Console(stderr=True)):
                await asyncio.wait([task])
    return [task.result() for task in tasks]


def _arguments() -> argparse.Namespace:
    kinds = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0], formatter_class=kinds)
    parser.add_argument("data", type=Path, help="histories, as for recblr-train")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle that the server serves")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the running server")
    parser.add_argument("--api-key", help="its key, if it wants one")
    parser.add_argument("--users", type=int, default=1000, help="users to replay")
    parser.add_argument("--last", type=int, default=60, help="events of each, the newest ones")
    parser.add_argument("--concurrency", type=int, default=16, help="users at a time")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of users")
    return parser.parse_args()


def main() -> int:
    """The command; returns its exit code."""
    options = _arguments()
    try:
        network, bundle = load_network(options.bundle, torch.device("cpu"))
        item_ids = [item.item_id for item in bundle.items]
        histories = sample(read_interactions(options.data, item_ids), options.users, options.last, options.seed)
        lists = [
            [item_ids[row - 1] for row in histories.rows[start:stop]]
            for start, stop in zip(histories.offsets[:-1], histories.offsets[1:], strict=True)
        ]
        started = time.perf_counter()
        replayed = asyncio.run(replay(options.url, options.api_key, lists, options.concurrency))
        seconds = time.perf_counter() - started
    except (DataError, BundleError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ExceptionGroup as failed:
        sys.stderr.write(f"error: {failed.exceptions[0]!r}; is the server at {options.url} up?\n")
        return 2
    online = Ranks(np.array([r.kept for r in replayed]), np.array([r.masked for r in replayed])).metrics()
    offline = leave_one_out(network, histories).metrics()
    wanted = [f"{column}{metric}@10" for column in ("", "masked_") for metric in ("hr", "ndcg")]
    result = {
        "version": bundle.version,
        "users": len(lists),
        "events": len(histories.rows),
        "seconds": round(seconds, 1),
        "online": {name: round(online[name], 6) for name in wanted},
        "offline": {name: round(offline[name], 6) for name in wanted},
        "largest_difference": round(max(abs(online[name] - offline[name]) for name in wanted), 6),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

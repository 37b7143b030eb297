"""Compare a running server's recommendations with the offline evaluation of its bundle.

    python -m loadtests.offline_parity DATA --bundle BUNDLE --users 1000 --last 60

Posts the events of each history in order. Before the last event it asks for the top 20, with and without seen items.
The torch network of the same bundle ranks the same histories offline. The last line printed is JSON with both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from ingest.errors import DataError
from model.bundle.bundle import BundleError
from model.training.data.interactions import Interactions, read_interactions
from model.training.evaluation.bundle_loader import load_network
from model.training.evaluation.leave_one_out import LeaveOneOutRanks, leave_one_out

DEPTH = 20
METRICS = tuple(f"{prefix}{metric}@10" for prefix in ("", "masked_") for metric in ("hr", "ndcg"))


@dataclass(frozen=True, slots=True)
class OnlineRanks:
    """Ranks of one user's last item in the server's answers.

    `kept` is the rank among all items, `masked` the rank without seen items.
    """

    kept: int
    masked: int


def sample_histories(data: Interactions, users: int, last: int, seed: int) -> Interactions:
    """Return the last events of random users.

    Users with fewer than two events are left out.
    """
    eligible = np.flatnonzero(data.lengths >= 2)
    chosen = np.random.default_rng(seed).choice(eligible, min(users, len(eligible)), replace=False)
    parts = [data.rows[max(data.offsets[u], data.offsets[u + 1] - last) : data.offsets[u + 1]] for u in chosen]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return Interactions(np.concatenate(parts), offsets, data.item_ids, [data.user_ids[u] for u in chosen])


async def replay(url: str, api_key: str | None, histories: list[list[str]], concurrency: int) -> list[OnlineRanks]:
    """Post all histories; return the ranks of their last items.

    Args:
        url: the running server.
        api_key: a key of the server, if it requires one.
        histories: item ids of each user, oldest first.
        concurrency: users replayed at the same time.
    """
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    run = uuid.uuid4().hex[:8]
    limit = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:

        async def replay_limited(number: int, items: list[str]) -> OnlineRanks:
            async with limit:
                return await _replay_user(client, f"replay-{run}-{number}", items)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(replay_limited(number, items)) for number, items in enumerate(histories)]
            for task in track(tasks, "replaying", console=Console(stderr=True)):
                await asyncio.wait([task])
    return [task.result() for task in tasks]


async def _replay_user(client: httpx.AsyncClient, user_id: str, items: list[str]) -> OnlineRanks:
    for number, item_id in enumerate(items[:-1]):
        await _post_event(client, user_id, item_id, number)
    kept = await _rank_of_last(client, user_id, items, exclude_seen=False)
    masked = await _rank_of_last(client, user_id, items, exclude_seen=True)
    await _post_event(client, user_id, items[-1], len(items) - 1)
    return OnlineRanks(kept, masked)


async def _post_event(client: httpx.AsyncClient, user_id: str, item_id: str, number: int) -> None:
    event = {"user_id": user_id, "item_id": item_id, "event_id": f"{number}"}
    (await client.post("/v1/events", json=event)).raise_for_status()


async def _rank_of_last(client: httpx.AsyncClient, user_id: str, items: list[str], *, exclude_seen: bool) -> int:
    response = await client.get(
        f"/v1/users/{user_id}/recommendations", params={"k": DEPTH, "exclude_seen": str(exclude_seen).lower()}
    )
    response.raise_for_status()
    body = response.json()
    if body["sequence"] != len(items) - 1:
        raise RuntimeError(f"{user_id}: the answer reflects {body['sequence']} of {len(items) - 1} events")
    ids = [item["item_id"] for item in body["items"]]
    return ids.index(items[-1]) + 1 if items[-1] in ids else DEPTH + 1


def main() -> int:
    """Run the command; return its exit code."""
    arguments = _parse_arguments()
    try:
        network, bundle = load_network(arguments.bundle, torch.device("cpu"))
        item_ids = [item.item_id for item in bundle.items]
        data = read_interactions([arguments.data], item_ids=item_ids)
        sampled = sample_histories(data, arguments.users, arguments.last, arguments.seed)
        started = time.perf_counter()
        ranks = asyncio.run(
            replay(arguments.url, arguments.api_key, _item_lists(sampled, item_ids), arguments.concurrency)
        )
        seconds = time.perf_counter() - started
    except (DataError, BundleError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ExceptionGroup as failed:
        sys.stderr.write(f"error: {failed.exceptions[0]!r}; is the server at {arguments.url} up?\n")
        return 2
    online = LeaveOneOutRanks(
        np.array([each.kept for each in ranks]), np.array([each.masked for each in ranks])
    ).metrics()
    offline = leave_one_out(network, sampled).metrics()
    result = {
        "version": bundle.version,
        "users": len(ranks),
        "events": len(sampled.rows),
        "seconds": round(seconds, 1),
        "online": {name: round(online[name], 6) for name in METRICS},
        "offline": {name: round(offline[name], 6) for name in METRICS},
        "largest_difference": round(max(abs(online[name] - offline[name]) for name in METRICS), 6),
    }
    print(json.dumps(result))
    return 0


def _item_lists(data: Interactions, item_ids: Sequence[str]) -> list[list[str]]:
    """Return the item ids of each user.

    Row n of the model is the n-th item id; row 0 is no item.
    """
    return [
        [item_ids[row - 1] for row in data.rows[start:stop]]
        for start, stop in zip(data.offsets[:-1], data.offsets[1:], strict=True)
    ]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("data", type=Path, help="histories, in a format that recblr-train reads")
    add("--bundle", type=Path, required=True, help="the bundle that the server serves")
    add("--url", default="http://127.0.0.1:8000", help="the running server")
    add("--api-key", help="key of the server, if it requires one")
    add("--users", type=int, default=1000, help="users to replay")
    add("--last", type=int, default=60, help="newest events of each user")
    add("--concurrency", type=int, default=16, help="users replayed at the same time")
    add("--seed", type=int, default=1, help="seed of the choice of users")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Benchmark of filters: first use, following changes, memory.

    python -m loadtests.micro.filter_benchmark [--items 1000000]

Prints JSON: milliseconds of CPU per million rows for the first use of twenty filters, the share of a core that 200
changes of availability per second cost with these filters compiled, and bytes per item with eight attributes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median

from service.core.catalogue.attributes import AttributeValue
from service.core.catalogue.catalogue import Catalogue
from service.core.catalogue.filter_cache import NOT_CACHED
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item, to_record
from service.core.catalogue_store import Definitions, ShardPosition, StoredItem

VERSION = "model"
ROUNDS = 5
BATCHES = 100  # of changes: ten seconds of ten batches
FLIPS = 20  # in a batch
TYPES = {
    "price": "number",
    "stock": "number",
    "rating": "number",
    "brand": "string",
    "colour": "string",
    "sale": "bool",
    "countries": "strings",
    "until": "time",
}
FILTERS = (
    "price < 50",
    "price BETWEEN 10 AND 20",
    "stock > 0",
    "brand = 'brand 7'",
    "brand <> 'brand 7'",
    "brand IN ('brand 1', 'brand 2', 'brand 3')",
    "colour LIKE 'b%'",
    "sale",
    "NOT sale AND price < 100",
    "'shoes' IN categories",
    "'shoes' IN categories AND price < 50",
    "'AT' IN countries",
    "NOT 'AT' IN countries OR countries IS NULL",
    "until > now()",
    "until > now() + INTERVAL '1' DAY AND stock > 0",
    "rating >= 4.5 AND price < 30",
    "price < 50 AND stock > 0 AND 'AT' IN countries AND 'shoes' IN categories",
    "sale OR rating > 4.8 OR price < 5",
    "brand = 'brand 1' AND colour = 'red'",
    "price IS NULL OR price < 20",
)
CATEGORIES = ["shoes", "shirts", "hats", "bags", "coats", "socks", "belts", "scarves", "gloves", "boots"]
COUNTRIES = ["AT", "DE", "CH", "FR", "IT", "ES", "PL", "NL", "BE", "CZ"]
COLOURS = ["red", "blue", "black", "white", "green", "brown"]


def made_up_items(count: int) -> Iterator[Item]:
    """Yield items with eight attributes each."""
    rng = random.Random(1)
    start = datetime.now(UTC)
    for index in range(count):
        attributes: dict[str, AttributeValue] = {
            "price": round(rng.expovariate(1 / 60), 2),
            "stock": float(rng.randrange(50)),
            "rating": rng.randrange(10, 51) / 10,
            "brand": f"brand {int(rng.paretovariate(0.7)) % 5000}",
            "colour": rng.choice(COLOURS),
            "sale": rng.random() < 0.1,
            "countries": tuple(sorted(rng.sample(COUNTRIES, rng.randrange(1, 6)))),
            "until": start + timedelta(days=rng.uniform(-10, 90)),
        }
        title = f"{attributes['colour']} {rng.choice(CATEGORIES)} of {attributes['brand']}, number {index}"
        yield Item(f"item-{index}", title, tuple(rng.sample(CATEGORIES, 2)), rng.random() < 0.95, attributes)


async def fill(catalogue: Catalogue, count: int) -> float:
    """Put made-up items; return the seconds."""
    catalogue.set_definitions(Definitions(ShardPosition(1, "d"), TYPES, {}))
    items, seconds, revision = made_up_items(count), 0.0, 0
    while batch := [item for item, _ in zip(items, range(1000), strict=False)]:
        stored = [StoredItem(item.item_id, revision + 1 + i, to_record(item)) for i, item in enumerate(batch)]
        revision += len(batch)
        started = time.process_time()
        catalogue.apply(0, ShardPosition(revision, "t"), stored)
        seconds += time.process_time() - started
    return seconds


async def first_use(count: int, catalogue: Catalogue) -> dict[str, float]:
    """Return milliseconds per million rows, with parsing."""
    found = {}
    for text in FILTERS:
        times = []
        for round_number in range(ROUNDS):
            # Another text each time, with one meaning.
            request = FilterRequest(text + " " * (round_number + 1))
            started = time.process_time()
            await catalogue.allowed(VERSION, request)
            times.append(time.process_time() - started)
        found[text] = round(median(times) * 1e3 / count * 1e6, 2)
    return found


async def follow(count: int, catalogue: Catalogue) -> float:
    """Return the seconds for all batches of flips, with all filters used."""
    requests = [FilterRequest(text) for text in FILTERS]
    for request in requests:
        await catalogue.allowed(VERSION, request)
    rng, revision, seconds = random.Random(2), 10 * count, 0.0
    items = {item.item_id: item for item, _ in zip(made_up_items(count), range(10_000), strict=False)}
    for _ in range(BATCHES):
        stored = []
        for item_id in rng.sample(list(items), FLIPS):
            old = items[item_id]
            items[item_id] = Item(item_id, old.title, old.categories, not old.available, old.attributes)
            revision += 1
            stored.append(StoredItem(item_id, revision, to_record(items[item_id])))
        started = time.process_time()
        catalogue.apply(0, ShardPosition(revision, "t"), stored)
        for request in requests:
            if catalogue.allowed_now(VERSION, request) is NOT_CACHED:
                await catalogue.allowed(VERSION, request)
        seconds += time.process_time() - started
    return seconds


async def measure(count: int) -> dict[str, object]:
    """Run all parts."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    catalogue = Catalogue(16)
    await catalogue.add_model(VERSION, [f"item-{index}" for index in range(count)])
    seconds = await fill(catalogue, count)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    await catalogue.allowed(VERSION, FilterRequest("price > 1"))  # imports the parser
    times = await first_use(count, catalogue)
    following = await follow(count, catalogue)
    catalogue.close()
    return {
        "items": count,
        "apply_us_per_item": round(seconds / count * 1e6, 2),
        "columns_bytes_per_item": round(catalogue.nbytes / count, 1),
        "process_bytes_per_item": round(grown * 1024 / count, 1),
        "first_use_ms_per_million_rows": times,
        "slowest_first_use": max(times.values()),
        "following_share_of_a_core": round(following / (BATCHES / 10), 4),
    }


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="number of items")
    print(json.dumps(asyncio.run(measure(parser.parse_args().items))))


if __name__ == "__main__":
    main()

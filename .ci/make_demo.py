"""Make the demo of the wheel: model and catalogue of a shop.

    python .ci/make_demo.py FOLDER ITEMS.jsonl

The invented customers equip themselves for one trip after the other, so that a next item can be learnt.
"""

from __future__ import annotations

import csv
import json
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from model.bundle.bundle import load_bundle, write_bundle
from model.training.__main__ import main as train

TRIPS = {
    "camping": "tent|sleeping bag|sleeping mat|camp stove|gas cartridge|cooking pot|headlamp|camping chair",
    "hiking": "hiking boots|trekking poles|day pack|rain jacket|water bottle|trail map|blister plasters|sun hat",
    "climbing": "climbing shoes|chalk bag|harness|belay device|climbing rope|quickdraws|helmet|finger tape",
    "cycling": "touring bike|bike helmet|panniers|pump|inner tube|bike light|cycling gloves|chain oil",
    "winter": "touring skis|ski skins|avalanche beacon|snow shovel|down jacket|ski goggles|thermos|hand warmers",
    "water": "kayak|paddle|life vest|dry bag|wetsuit|water shoes|throw bag|neoprene gloves",
    "running": "trail shoes|running vest|soft flask|running watch|energy gels|compression socks|cap|arm pocket",
    "fishing": "fishing rod|reel|fishing line|lures|landing net|waders|tackle box|fishing stool",
}
CUSTOMERS, PURCHASES = 300, 16
FOLLOWED = 0.8  # of the purchases are the next item of the trip


def make_events(path: Path) -> None:
    """Write the invented purchases."""
    rng = random.Random(11)
    trips = [[f"{trip}-{n}" for n in range(1, items.count("|") + 2)] for trip, items in TRIPS.items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "item_id", "timestamp"])
        for customer in range(CUSTOMERS):
            trip, position = rng.choice(trips), rng.randrange(4)
            for number in range(PURCHASES):
                table.writerow([f"customer-{customer}", trip[position], 1_700_000_000 + 86_400 * number + customer])
                position = position + 1 if rng.random() < FOLLOWED else rng.randrange(8)
                if position >= len(trip):
                    trip, position = rng.choice(trips), 0


def write_catalogue(path: Path) -> None:
    """Write the invented items, one JSON object a line."""
    rng = random.Random(7)
    with path.open("w", encoding="utf-8") as file:
        for trip, items in TRIPS.items():
            for number, title in enumerate(items.split("|"), start=1):
                attributes = {"price": rng.randrange(5, 250) - 0.05, "new": rng.random() < 0.2}
                item = {"item_id": f"{trip}-{number}", "title": title.capitalize(), "categories": [trip]}
                file.write(json.dumps({**item, "attributes": attributes}) + "\n")


def main(folder: Path, items: Path) -> int:
    """Train and write the bundle, and write the catalogue."""
    with tempfile.TemporaryDirectory() as work:
        make_events(Path(work) / "events.csv")
        settings = "--dim 16 --layers 2 --device cpu --epochs 12 --learning-rate 0.01 --refit"
        if code := train(["train", f"{work}/events.csv", "--out", f"{work}/run", *settings.split()]):
            return code
        bundle = load_bundle(Path(work) / "run" / "bundle")
    origin = bundle.training_data | {"source": "an invented shop: .ci/make_demo.py"}
    write_bundle(folder, replace(bundle, training_data=origin), None)
    write_catalogue(items)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))

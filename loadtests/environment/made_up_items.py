"""Catalogue entries with made-up attributes, and filters over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

COUNTRIES = ("AT", "DE", "CH", "FR", "IT", "ES", "PL", "NL")


def attributes_of(number: int) -> dict[str, Any]:
    """Return the attributes of item `number`."""
    return {
        "price": number * 7919 % 10_000 / 100,
        "brand": f"b{number % 50}",
        "sale": number % 10 == 0,
        "countries": [country for bit, country in enumerate(COUNTRIES) if (number * 2654435761 >> bit + 8) & 1],
    }


class MadeUpFilter(NamedTuple):
    """A filter, and the same condition in Python."""

    expression: str
    passes: Callable[[dict[str, Any]], bool]


FILTERS: Sequence[MadeUpFilter] = (
    MadeUpFilter("price < 50", lambda item: item["price"] < 50),
    MadeUpFilter("price < 10", lambda item: item["price"] < 10),
    MadeUpFilter("price < 1", lambda item: item["price"] < 1),
    MadeUpFilter("price < 0.1", lambda item: item["price"] < 0.1),
    MadeUpFilter("price BETWEEN 20 AND 30", lambda item: 20 <= item["price"] <= 30),
    MadeUpFilter("sale", lambda item: item["sale"]),
    MadeUpFilter("NOT sale", lambda item: not item["sale"]),
    MadeUpFilter("brand = 'b7'", lambda item: item["brand"] == "b7"),
    MadeUpFilter("brand <> 'b7'", lambda item: item["brand"] != "b7"),
    MadeUpFilter("brand IN ('b1', 'b2', 'b3')", lambda item: item["brand"] in ("b1", "b2", "b3")),
    MadeUpFilter("brand LIKE 'b4%'", lambda item: item["brand"].startswith("b4")),
    MadeUpFilter("'AT' IN countries", lambda item: "AT" in item["countries"]),
    MadeUpFilter("NOT 'AT' IN countries", lambda item: "AT" not in item["countries"]),
    MadeUpFilter("'AT' IN countries AND 'DE' IN countries", lambda item: {"AT", "DE"} <= set(item["countries"])),
    MadeUpFilter("'AT' IN countries AND price < 50", lambda item: "AT" in item["countries"] and item["price"] < 50),
    MadeUpFilter("sale OR price < 5", lambda item: item["sale"] or item["price"] < 5),
    MadeUpFilter("sale AND price > 90", lambda item: item["sale"] and item["price"] > 90),
    MadeUpFilter("brand = 'b7' AND sale", lambda item: item["brand"] == "b7" and item["sale"]),
    MadeUpFilter("price >= 99", lambda item: item["price"] >= 99),
    MadeUpFilter("available", lambda item: True),
)

"""Rows of an earlier revision are those that were allowed then."""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np
import pytest

from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.catalogue.past_rows import PastMoment
from service.core.catalogue.revisions import decode_revision
from tests.core.catalogue.driven import MODEL, Driven, ids_of, run
from tests.core.catalogue.expressions import NOW

REQUESTS = (
    None,
    FilterRequest("price < 5"),
    FilterRequest("until > now()"),
    FilterRequest("NOT sale OR price IS NULL"),
)


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("model", [MODEL, MODEL[::-2]])
def test_items_that_have_not_changed_are_as_they_were(request_: FilterRequest | None, model: list[str]) -> None:
    async def test(driven: Driven) -> None:
        rng = random.Random(7)
        await driven.catalogue.add_model("two", model)
        moments: list[tuple[str, int, set[str], int]] = []
        for _ in range(40):
            driven.put(*[random_item(rng) for _ in range(rng.randrange(1, 4))])
            driven.now += rng.randrange(2_000_000)
            rows = await driven.catalogue.allowed("two", request_)
            moments.append((driven.catalogue.revision, driven.now, ids_of(model, rows), driven.revision))
        for text, now, then, revision in moments:
            moment = PastMoment(decode_revision(text), now)
            past = await driven.catalogue.allowed_at("two", request_, moment, [*model, "unknown"])
            assert past.rows == [*range(1, len(model) + 1), 0]
            changed = {model[row - 1] for row in np.flatnonzero(past.changed)}
            assert changed == {item for item in model if driven.changed_at.get(item, 0) > revision}
            found = {model[row - 1] for row in np.flatnonzero(past.allowed)}
            assert found - changed == then - changed

    run(test)


def random_item(rng: random.Random) -> Item:
    item_id = rng.choice([*MODEL[:8], "of no model"])
    if rng.random() < 0.2:
        return Item(item_id, deleted=True)
    values = {
        "price": float(rng.randrange(10)),
        "sale": rng.random() < 0.5,
        "until": NOW + timedelta(microseconds=rng.randrange(40_000_000)),
    }
    kept = {name: value for name, value in values.items() if rng.random() < 0.8}
    return Item(item_id, available=rng.random() < 0.7, attributes=kept)

from datetime import UTC, datetime

import pytest

from service.core.catalogue.attributes import (
    AttributeType,
    declared_type,
    from_microseconds,
    parse_time,
    to_microseconds,
    type_of,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        (1.0, "number"),
        ("x", "string"),
        (("a",), "strings"),
        (parse_time("2026-01-01T00:00Z"), "time"),
    ],
)
def test_type_follows_from_the_value(value: bool | float | str | tuple[str, ...] | datetime, kind: str) -> None:
    assert type_of(value) is declared_type(kind) is AttributeType(kind)


def test_time_is_kept_to_the_microsecond_in_utc() -> None:
    time = parse_time("2026-12-24T18:00:00.123456+01:00")
    assert time == datetime(2026, 12, 24, 17, 0, 0, 123456, tzinfo=UTC)
    assert from_microseconds(to_microseconds(time)) == time


@pytest.mark.parametrize("text", ["2026-12-24T18:00:00", "tomorrow", "", "0001-01-01T00:00:00+05:00"])
def test_time_without_offset_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="with an offset"):
        parse_time(text)

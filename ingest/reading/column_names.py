"""Find the columns of user, item and time in a table."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ingest.errors import DataError
from ingest.read_options import ReadOptions

# Common names, the most specific first. A name is compared in lower case, without punctuation.
_USERS = (
    *("userid", "user", "uid", "visitorid", "visitor", "customerid", "customer", "memberid", "reviewerid"),
    *("accountid", "clientid", "profileid", "sessionid", "session"),
)
_ITEMS = (
    *("itemid", "item", "iid", "movieid", "movie", "productid", "product", "articleid", "article", "parentasin"),
    *("asin", "sku", "songid", "trackid", "bookid", "contentid", "videoid", "newsid"),
)
_TITLES = ("title", "itemtitle", "movietitle", "producttitle", "productname", "prodname", "itemname", "name")
_CATEGORIES = ("categories", "genres", "category", "genre", "maincategory", "maincat", "producttypename", "tags")
_AVAILABLE = ("available", "isavailable", "instock", "active", "isactive")
_TIMES = (
    *("timestamp", "time", "ts", "datetime", "date", "eventtime", "eventtimestamp", "createdat", "unixtime"),
    *("unixreviewtime", "tdat", "orderdate"),
)

# Given all names of a table, returns those to read; raises DataError.
FindColumns = Callable[[Sequence[str]], Sequence[str]]


class Columns(NamedTuple):
    """Names of the columns to read.

    `time` is None if the rows are in order of time, `type` and `value` unless they were asked for.
    """

    user: str
    item: str
    time: str | None
    type: str | None = None
    value: str | None = None


def find_columns(source: str, names: Sequence[str], options: ReadOptions) -> Columns:
    """Find the columns of `names` to read.

    Args:
        source: file name for messages.
        names: all column names, in order, a RecBole type such as `:token` removed.
        options: columns that the user has named.

    Raises:
        DataError: a column is missing, or the column name occurs twice.
    """
    user = _named(source, names, options.user_column) or recognised(names, _USERS)
    item = _named(source, names, options.item_column) or recognised(names, _ITEMS)
    time = _named(source, names, options.time_column) or recognised(names, _TIMES)
    for column, what in ((user, "user"), (item, "item")):
        if column is None:
            raise DataError(
                f"{source}: no column for the {what} is recognised among {_list(names)}; name it with --{what}-column"
            )
    assert user is not None and item is not None  # noqa: S101 - the loop above has raised otherwise
    counts = Counter(names)
    event_type, value = _named(source, names, options.type_column), _named(source, names, options.value_column)
    for column in (user, item, time, event_type, value):
        if column is not None and counts[column] > 1:
            raise DataError(f"{source}: the column {column!r} stands {counts[column]} times; rename or remove one")
    used = [column for column in (user, item, time, event_type, value) if column is not None]
    if len(set(used)) < len(used):
        raise DataError(f"{source}: one column cannot be used twice; name others with --user-column, --item-column")
    return Columns(user, item, time, event_type, value)


def has_user_and_item(names: Sequence[str], options: ReadOptions) -> bool:
    """Return whether these names are those of a table of events."""
    user = options.user_column if options.user_column in names else recognised(names, _USERS)
    item = options.item_column if options.item_column in names else recognised(names, _ITEMS)
    return user is not None and item is not None and user != item


def recognised(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Return the name that is known, the most specific first."""
    plain = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(names)}
    return next((plain[name] for name in known if name in plain), None)


def find_fields(source: str, names: Sequence[str], asked: Mapping[str, str | None]) -> dict[str, str]:
    """Find the columns of a catalogue's fields: item, title, categories, available.

    Args:
        source: file name for messages.
        names: all column names.
        asked: columns that the user has named, by field.

    Raises:
        DataError: there is no column for the item, or a column is missing or used twice.
    """
    known = {"item": (*_ITEMS, "id"), "title": _TITLES, "categories": _CATEGORIES, "available": _AVAILABLE}
    found = {
        field: column
        for field, candidates in known.items()
        if (column := _named(source, names, asked.get(field)) or recognised(names, candidates)) is not None
    }
    if "item" not in found:
        raise DataError(
            f"{source}: no column for the item is recognised among {_list(names)}; name it with --item-column"
        )
    if twice := [name for name in found.values() if list(found.values()).count(name) + names.count(name) > 2]:
        raise DataError(f"{source}: the column {twice[0]!r} occurs or is used twice; name others")
    return found


def _named(source: str, names: Sequence[str], asked: str | None) -> str | None:
    if asked is None or asked in names:
        return asked
    close = difflib.get_close_matches(asked, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; it has {_list(names)}"
    raise DataError(f"{source} has no column {asked!r}{hint}")


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")

"""Items that a question allows, with the catalogue's revision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from service.core.catalogue.attributes import AttributeType
from service.core.catalogue.expression.checker import suggestion
from service.core.catalogue.filter_cache import NOT_CACHED, NotCached
from service.core.catalogue.filter_request import FilterRequest
from service.core.catalogue.items import Item
from service.core.engine_requests import AllowedRows
from service.core.errors import InvalidRequest
from service.core.ports import Engine


class CatalogueView(Protocol):
    """Part of `core.catalogue.catalogue.Catalogue` that questions need."""

    is_empty: bool

    @property
    def revision(self) -> str:
        """Opaque text that names the state."""
        ...

    @property
    def evaluated_at(self) -> int:
        """The time of now() in the rows returned last, in microseconds."""
        ...

    @property
    def types(self) -> Mapping[str, AttributeType]:
        """Declared attributes."""
        ...

    def get(self, item_id: str) -> Item | None:
        """Return an item's entry, or None."""
        ...

    def allowed_now(self, version: str, request: FilterRequest | None) -> AllowedRows | NotCached | None:
        """Return what `allowed` would, if that needs no waiting."""
        ...

    async def allowed(self, version: str, request: FilterRequest | None) -> AllowedRows | None:
        """Return the rows that may be in an answer; None for all."""
        ...


class _NoCatalogue:
    """Catalogue that is always empty, and has no filters."""

    is_empty, revision, evaluated_at = True, "", 0
    types: Mapping[str, AttributeType] = {}

    def get(self, item_id: str) -> Item | None:
        """Return nothing."""
        return None

    def allowed_now(self, version: str, request: FilterRequest | None) -> AllowedRows | NotCached | None:
        """Allow everything; raises `InvalidRequest` for a filter."""
        if request is not None:
            raise InvalidRequest("there is no catalogue to filter")
        return None

    async def allowed(self, version: str, request: FilterRequest | None) -> AllowedRows | None:
        """Allow everything."""
        return None


class Eligible(NamedTuple):
    """Allowed rows of one moment.

    Attributes:
        allowed: The rows; None allows all.
        revision: The catalogue's revision at that moment; None for an empty catalogue.
        evaluated_at: The moment of a filter's now(), in Unix seconds; None without a filter.
    """

    allowed: AllowedRows | None = None
    revision: str | None = None
    evaluated_at: float | None = None


EVERYTHING = Eligible()
MICROSECONDS = 1e6  # in a second; a float has them all until the year 2242
_MAX_PROBLEMS = 20
_MAX_SUGGESTIONS = 3  # each takes up to a millisecond
ALWAYS_PRESENT = ("item_id", "title", "categories")  # fields of each item that need not be asked for


class Eligibility:
    """Eligible items by question; without a catalogue all are."""

    def __init__(self, catalogue: CatalogueView | None = None) -> None:
        self.catalogue = catalogue or _NoCatalogue()

    def is_restricted(self, request: FilterRequest | None) -> bool:
        """Return whether there is anything to check."""
        return request is not None or not self.catalogue.is_empty

    def rows_to_compile(self, engine: Engine, request: FilterRequest) -> int:
        """Return for how many rows the filter must be compiled; 0: none.

        Raises `InvalidRequest`.
        """
        if self.catalogue.allowed_now(engine.version, request) is not NOT_CACHED:
            return 0
        return len(engine.item_ids)

    def entries(self, item_ids: Iterable[str]) -> dict[str, Item | None] | None:
        """Return the items' entries; None for an empty catalogue."""
        catalogue = self.catalogue
        if catalogue.is_empty:
            return None
        return {item_id: catalogue.get(item_id) for item_id in item_ids}

    def check_fields(self, names: Iterable[str]) -> None:
        """Raise `InvalidRequest` if a name is no attribute."""
        types = self.catalogue.types
        wrong = [name for name in names if name not in types and name not in ALWAYS_PRESENT]
        if not wrong:
            return
        problems: list[dict[str, object]] = []
        for number, name in enumerate(wrong[:_MAX_PROBLEMS]):
            meant = suggestion(name, [*types, *ALWAYS_PRESENT]) if number < _MAX_SUGGESTIONS else None
            problem = f"no attribute {name!r}" + (f"; did you mean {meant!r}?" if meant else "")
            details: dict[str, object] = {"field": "fields", "problem": problem}
            problems.append({**details, "suggestion": meant} if meant else details)
        raise InvalidRequest(str(problems[0]["problem"]), details=problems)

    async def of(self, version: str, request: FilterRequest | None) -> Eligible:
        """Return a model's eligible rows, their revision, and the time of now().

        All are taken at one moment. Raises `InvalidRequest` or `Overloaded`.
        """
        catalogue = self.catalogue
        if not self.is_restricted(request):
            return EVERYTHING
        allowed = catalogue.allowed_now(version, request)
        if isinstance(allowed, NotCached):
            allowed = await catalogue.allowed(version, request)
        revision = None if catalogue.is_empty else catalogue.revision
        return Eligible(allowed, revision, None if request is None else catalogue.evaluated_at / MICROSECONDS)

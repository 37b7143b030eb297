"""Validation errors as sentences: which field, and what is wrong with it. Never the input itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from service.api.schemas.field_types import NO_CONTROL_CHARACTERS, VERSION_FORM

_MOST_PROBLEMS = 20
_LONGEST_NAME = 64

# pydantic's error type -> what to tell the client; the fields in braces come from the error's context.
_SENTENCES: Mapping[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is not known here; remove it or correct its name",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode, without lone surrogates",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is out of range",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "json_invalid": "is not valid JSON",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
}

_PATTERNS: Mapping[str, str] = {
    NO_CONTROL_CHARACTERS: "must not contain control characters, such as line breaks or tabs",
    VERSION_FORM: "must begin with a letter or digit and continue with letters, digits and any of . _ + : -",
}


def problems_of(errors: Iterable[Mapping[str, Any]], content_type: str = "") -> list[dict[str, object]]:
    """What is wrong, field by field, in the shape of `details`; the first few only."""
    problems: list[dict[str, object]] = []
    for error in errors:
        if len(problems) == _MOST_PROBLEMS:
            break
        problems.append({"field": _field(error["loc"], error["type"]), "problem": _sentence(error, content_type)})
    return problems


def _field(loc: tuple[int | str, ...], kind: str) -> str:
    if not loc or kind == "json_invalid":  # there pydantic's position is a byte offset
        return "body"
    # The first part says where the field was: body, query, path. Batches validate events without one.
    path = loc[1:] if len(loc) > 1 and loc[0] in ("body", "query", "path") else loc
    return ".".join(_printable(part) for part in path)


def _printable(part: int | str) -> str:
    """A part of a path; where it is an unknown field's name, it is the client's text and must stay harmless."""
    text = str(part).encode("unicode_escape").decode("ascii") if not str(part).isprintable() else str(part)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def _sentence(error: Mapping[str, Any], content_type: str) -> str:
    kind = error["type"]
    if kind == "model_attributes_type" and error["loc"] == ("body",) and "json" not in content_type.lower():
        return "must be a JSON object, sent with the header Content-Type: application/json"
    if kind == "value_error":  # from our own validators, whose messages follow the same rules
        return str(error["ctx"]["error"])
    template = _PATTERNS.get(error["ctx"]["pattern"]) if kind == "string_pattern_mismatch" else _SENTENCES.get(kind)
    if template is None:
        return "is not acceptable here; /docs shows the contract"
    sentence = template.format(**error.get("ctx", {}))
    return sentence.replace(" 1 characters", " 1 character").replace(" 1 entries", " 1 entry")

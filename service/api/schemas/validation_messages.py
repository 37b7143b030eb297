"""Validation errors as sentences for clients.

A sentence names the field and the rule. It never repeats the input, which may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from service.api.schemas.field_types import EXCLUDED_EVENTS, FILTER_NAME, TYPE_PATTERN, VERSION_PATTERN
from service.api.schemas.incremental_json import ROW_TOO_LONG
from service.core.event_fields import NO_CONTROL_CHARACTERS
from service.core.printable_text import printable

MAX_DETAILS = 20

# By pydantic's error type. Names in braces come from the error's context.
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
    "float_type": "must be a number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "json_invalid": "is not valid JSON",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
}

_PATTERNS: Mapping[str, str] = {
    NO_CONTROL_CHARACTERS: "must not contain control characters, such as line breaks or tabs",
    TYPE_PATTERN: "must be a name such as purchase: a letter from a to z, then at most 31 of a to z, 0 to 9 and _",
    EXCLUDED_EVENTS: "must be a type of events, such as purchase, or a type and an age in m, h, d or w: purchase:30d",
    FILTER_NAME: "must be a letter, digit or _, then at most 63 of letters, digits, _, . and -",
    VERSION_PATTERN: "must begin with a letter or digit and continue with letters, digits and any of . _ + : -",
}


def validation_details(errors: Iterable[Mapping[str, Any]], content_type: str = "") -> list[dict[str, object]]:
    """Convert pydantic's errors to the `details` of an error response."""
    return [
        {"field": _field(error["loc"], error["type"]), "problem": _sentence(error, content_type)}
        for error in islice(errors, MAX_DETAILS)
    ]


def _field(loc: tuple[int | str, ...], error_type: str) -> str:
    if not loc or error_type == "json_invalid":  # for invalid JSON pydantic reports a byte offset
        return "body"
    # The first part is body, query or path. Events of a batch are validated on their own, without that part.
    path = loc[1:] if len(loc) > 1 and loc[0] in ("body", "query", "path") else loc
    return ".".join(printable(str(part)) for part in path)


def _sentence(error: Mapping[str, Any], content_type: str) -> str:
    error_type = error["type"]
    if error_type == "model_attributes_type" and error["loc"] == ("body",) and "json" not in content_type.lower():
        return "must be a JSON object, sent with the header Content-Type: application/json"
    if error_type == "missing" and error["loc"] == ("body",):
        return "is required: send a JSON object, {} if every field may be left out"
    if error_type == "json_invalid" and error["ctx"]["error"] == ROW_TOO_LONG:
        return ROW_TOO_LONG
    if error_type == "value_error":  # raised by the validators in `field_types`, whose messages are for clients
        return str(error["ctx"]["error"])
    if error_type == "string_pattern_mismatch":
        template = _PATTERNS.get(error["ctx"]["pattern"])
    else:
        template = _SENTENCES.get(error_type)
    if template is None:
        return "is not valid; /docs shows the contract"
    sentence = template.format(**error.get("ctx", {}))
    return sentence.replace(" 1 characters", " 1 character").replace(" 1 entries", " 1 entry")

"""JSON logs on stderr, with the id of the request."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from service.core.caller_name import current_caller

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)


class _AddRequest(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        request_id = current_request_id.get()
        if request_id is not None:
            record.request_id = request_id
            if not hasattr(record, "caller"):
                record.caller = current_caller.get()
        return True


def configure_logging(level: str) -> None:
    """Write the messages of all loggers from `level` upwards as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_AddRequest())
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp=True,
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's copy of the message for terminals
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)

"""Name of the caller whose request is being answered."""

from __future__ import annotations

from contextvars import ContextVar

ANONYMOUS = "anonymous"  # a request without a key
USER_TOKEN = "user-token"  # noqa: S105 - a browser with a user token; one name for all users

current_caller: ContextVar[str] = ContextVar("current_caller", default=ANONYMOUS)

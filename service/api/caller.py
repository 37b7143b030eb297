"""Caller of a request: its name, and the account of its work."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from service.core.caller_name import ANONYMOUS
from service.core.errors import Forbidden

CALLER = "recblr.caller"  # entry of the ASGI scope: the `Caller` that the auth middleware found
BODY_BYTES = "recblr.body_bytes"  # size of the decompressed body; absent without one


class Account(Protocol):
    """Account that a caller's work is charged to."""

    def charge(self, units: float) -> None:
        """Charge work beyond the request itself, in ordinary requests."""
        ...

    def admit(self, units: float) -> None:
        """Charge work before it is done; may raise `RateLimited`."""
        ...


class Caller(NamedTuple):
    """Sender of a request.

    Attributes:
        name: Name of the API key, for logs and metrics.
        user_id: The only user that the request may concern; None: any user.
        admin: The request uses the admin scope; it is always logged.
        account: What the request's work is charged to; None: nothing is limited.
    """

    name: str = ANONYMOUS
    user_id: str | None = None
    admin: bool = False
    account: Account | None = None

    def charge(self, units: float) -> None:
        """Charge work beyond the request itself, in ordinary requests."""
        if self.account is not None and units > 0:
            self.account.charge(units)

    def admit(self, units: float) -> None:
        """Charge work before it is done; may raise `RateLimited`.

        The account may be in debt already: many requests are admitted before the first of them is charged.
        """
        if self.account is not None and units > 0:
            self.account.admit(units)

    def check_user(self, user_id: str) -> None:
        """Raise `Forbidden` unless the request may concern this user."""
        if self.user_id is not None and self.user_id != user_id:
            raise Forbidden("this user token is for another user")


ANONYMOUS_CALLER = Caller()

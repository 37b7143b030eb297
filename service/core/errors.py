"""The one error tree of the service. `api/errors.py` gives each class its HTTP status."""

from __future__ import annotations


class ServiceError(Exception):
    """Base of every error that reaches a client.

    `code` is the stable, machine-readable name in the answer; the message is for people and must never carry
    secrets, another user's data or where the service's parts run. `for_log` says the same to the operator, who may
    know that. One exception: `RolloutRefused` and `RolloutUnfinished` name workers (host and process): only keys of
    the admin scope receive them.
    """

    code = "internal_error"

    def __init__(
        self, message: str, *, details: list[dict[str, object]] | None = None, for_log: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.for_log = for_log or message


class InvalidRequest(ServiceError):
    """The request does not follow the contract; nothing was changed."""

    code = "invalid_request"


class PayloadTooLarge(ServiceError):
    """The body is larger than the service reads."""

    code = "payload_too_large"


class Unauthorized(ServiceError):
    """No API key, or one the service does not know."""

    code = "unauthorized"


class Forbidden(ServiceError):
    """The caller may not do this."""

    code = "forbidden"


class NotFound(ServiceError):
    """There is no such thing."""

    code = "not_found"


class UserNotFound(NotFound):
    """The log holds no such user."""

    code = "user_not_found"


class EventNotFound(NotFound):
    """The user's log keeps no such event."""

    code = "event_not_found"


class ItemNotFound(NotFound):
    """The live model does not know the item."""

    code = "item_not_found"


class ModelVersionNotFound(NotFound):
    """The bundle folder holds no such version."""

    code = "model_version_not_found"


class EventConflict(ServiceError):
    """An event_id came again with another payload."""

    code = "event_conflict"


class RolloutRefused(ServiceError):
    """The bundle failed its check, or something else is under way; what is live stays live, in every worker."""

    code = "reload_refused"


class RolloutUnfinished(ServiceError):
    """The models are exchanged, but not in every worker yet; these follow by themselves."""

    code = "swap_unfinished"


class Overloaded(ServiceError):
    """The queue is full; the request was not started."""

    code = "overloaded"


class RateLimited(ServiceError):
    """The API key has made as many requests as it may; this one was not started."""

    code = "rate_limited"


class DeadlineExceeded(ServiceError):
    """The request's time was over before its work was begun; nothing was changed."""

    code = "deadline_exceeded"


class StoreUnavailable(ServiceError):
    """The event log did not answer in time; for a write the outcome is unknown, so retry with an event_id."""

    code = "store_unavailable"

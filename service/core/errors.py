"""Errors of the service.

Errors that reach a client, with the HTTP status (api/error_responses.py) and the `code` in the response:

    ServiceError                        500  internal_error
    |-- InvalidRequest                  422  invalid_request
    |-- PayloadTooLarge                 413  payload_too_large
    |-- Unauthorized                    401  unauthorized
    |   `-- TokenExpired                401  token_expired
    |-- Forbidden                       403  forbidden
    |-- NotFound                        404  not_found
    |   |-- UserNotFound                404  user_not_found
    |   |-- EventNotFound               404  event_not_found
    |   |-- ItemNotFound                404  item_not_found
    |   |-- ModelVersionNotFound        404  model_version_not_found
    |   |-- AttributeNotFound           404  attribute_not_found
    |   `-- FilterNotFound              404  filter_not_found
    |-- EventConflict                   409  event_conflict
    |-- ItemConflict                    409  item_conflict
    |-- AttributeConflict               409  attribute_conflict
    |-- RolloutRefused                  409  reload_refused
    |-- RolloutUnfinished               503  swap_unfinished
    |-- Overloaded                      429  overloaded
    |-- RateLimited                     429  rate_limited
    |-- DeadlineExceeded                503  deadline_exceeded
    |-- StoreUnavailable                503  store_unavailable
    `-- NotReady                        503  not_ready

Errors that the service handles itself:

    Exception
    |-- SnapshotDamagedError            a stored snapshot fails its check: the log is replayed
    |-- StateDamagedError               the engine cannot read a state: the log is replayed
    |-- BundleRefusedError              a bundle cannot be served: the rollout is refused, or the start fails
    |-- ExpressionError                 core.catalogue: a filter expression is refused: becomes InvalidRequest
    |-- NotAsciiError                   core.catalogue: a text is searched in another way
    |-- RevisionFormatError             core.catalogue: a text is no revision of a catalogue: 422
    |-- RevisionGoneError               core.catalogue: a revision cannot be evaluated any more: the audit says so
    |-- EventsGoneError                 core.recommending: events of an answer are gone: the audit says so
    |-- LeaseLostError                  core.jobs: another worker reads the stream now
    |-- StoreRefusedError               store: the store cannot be used as configured: the start fails
    |   `-- StoreUnreachableError       store: the store does not answer: the start is retried
    |-- DeviceRefusedError              engine: the device cannot be used: the start fails
    |-- SettingsError                   settings: an environment variable is invalid: the start fails
    |-- KeyFileError                    key_file: the file of keys is damaged: the keys read before stay
    |-- FramingError                    api.connection: a message's framing is invalid: 400 or 501, then closed
    |-- RetiredScopeError               api_keys: a key names a scope that was replaced: the start fails
    `-- StartupError                    preflight: any of these, as one sentence on the command line
"""

from __future__ import annotations


class ServiceError(Exception):
    """Base of every error that reaches a client.

    `code` is the stable, machine-readable name in the response. `message` is for people: it never contains secrets,
    another user's data, or addresses of the deployment. `for_log` is the operator's version, which may contain
    addresses. Only `RolloutRefused` and `RolloutUnfinished` name workers in `message`, because only keys of the admin
    scope receive them.
    """

    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        details: list[dict[str, object]] | None = None,
        for_log: str | None = None,
        retry_after_seconds: int = 1,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.for_log = for_log or message
        self.retry_after_seconds = retry_after_seconds  # of answers with status 429 or 503


class InvalidRequest(ServiceError):
    """The request does not follow the contract; nothing was changed."""

    code = "invalid_request"


class PayloadTooLarge(ServiceError):
    """The body is larger than the service reads."""

    code = "payload_too_large"


class Unauthorized(ServiceError):
    """The API key is missing or unknown."""

    code = "unauthorized"


class TokenExpired(Unauthorized):
    """The user token was valid once."""

    code = "token_expired"


class Forbidden(ServiceError):
    """The API key lacks the scope."""

    code = "forbidden"


class NotFound(ServiceError):
    """The resource does not exist."""

    code = "not_found"


class UserNotFound(NotFound):
    """The log has no events of the user."""

    code = "user_not_found"


class EventNotFound(NotFound):
    """The user's log has no such event."""

    code = "event_not_found"


class ItemNotFound(NotFound):
    """The live model, or the catalogue, does not know the item."""

    code = "item_not_found"


class ModelVersionNotFound(NotFound):
    """The model registry has no such version."""

    code = "model_version_not_found"


class AttributeNotFound(NotFound):
    """The catalogue declares no such attribute."""

    code = "attribute_not_found"


class FilterNotFound(NotFound):
    """The catalogue has no filter of this name."""

    code = "filter_not_found"


class ItemConflict(ServiceError):
    """Others changed the item at each attempt to change it."""

    code = "item_conflict"


class AttributeConflict(ServiceError):
    """The attribute is declared with another type."""

    code = "attribute_conflict"


class EventConflict(ServiceError):
    """The event_id was used before with another payload."""

    code = "event_conflict"


class RolloutRefused(ServiceError):
    """The version cannot be served, or another rollout is running.

    Every worker keeps its live model.
    """

    code = "reload_refused"


class RolloutUnfinished(ServiceError):
    """The rollout is decided, but some workers have not switched yet.

    They switch by themselves later.
    """

    code = "swap_unfinished"


class Overloaded(ServiceError):
    """The queue is full; the request was not started."""

    code = "overloaded"


class RateLimited(ServiceError):
    """The API key has exceeded its rate limit."""

    code = "rate_limited"


class DeadlineExceeded(ServiceError):
    """The request was still queued at its deadline; nothing was changed."""

    code = "deadline_exceeded"


class StoreUnavailable(ServiceError):
    """The event log did not answer in time.

    A write may have taken effect, so retry it with an `event_id`.
    """

    code = "store_unavailable"


class NotReady(ServiceError):
    """The service is starting or stopping, or has no event log."""

    code = "not_ready"


class SnapshotDamagedError(Exception):
    """The bytes are not a snapshot of this user and model."""


class StateDamagedError(Exception):
    """The bytes are not a state of this engine."""


class BundleRefusedError(Exception):
    """A bundle or the model registry cannot be used.

    `for_log` also names the folder, which the message leaves out because it reaches clients.
    """

    def __init__(self, message: str, *, for_log: str | None = None) -> None:
        super().__init__(message)
        self.for_log = for_log or message

"""Read the service's event log from SQLite or Redis.

The stored layout is an interface, because `model` never imports `service` (decision 0006).
`service/store/sqlite/schema.py` and `service/store/redis/layout.py` write it.

SQLite (`sqlite:///path`), one shard:

    PRAGMA user_version     2
    events                  id (one order over all users, never reused), user_id, sequence, item_id, timestamp,
                            event_id (NULL if the client gave none), arrived, type (NULL for a view), value,
                            recommendation_id, credit; the last four are absent in older files
    deletions               count; 0 if there is no row
    catalogue_items         item_id, record; their format (1) is in catalogue_format; absent in older files

Redis (one server, sentinels or a cluster), 64 shards; all events of a user are in one of them:

    {n}:stream              stream in order of arrival, with the fields format (1), user, seq, item, ts,
                            event_id ("" if the client gave none), and of an event that has them type, value,
                            recommendation, credit; an entry's id begins with its arrival in ms
    {n}:deletions           count; 0 if absent
    {cN}:items              hash of the catalogue, in 16 shards: format byte (1), revision (8 bytes), record

A user's events are in order of `sequence`. Retention removes the oldest events and leaves no trace. Deleting an event
or a user increments the shard's count of deletions. Merging two users increments the counts of both shards, because
it removes events of both and appends some of them again.

The readers need no rights but those of the user that docs/redis.md names.
"""

from model.training.data.event_log.log_factory import open_log
from model.training.data.event_log.logged_event import EventLog, ItemRecord, LoggedEvent, Position

__all__ = ["EventLog", "ItemRecord", "LoggedEvent", "Position", "open_log"]

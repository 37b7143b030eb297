"""Streams: a consumer passes entries from a source to a writer.

The parts:

    StreamConsumer    reads, retries, acknowledges, rejects
    StreamSource      port of the stream; `service.store.streams` implements it
    EntryWriter       port of what entries change: EventWriter the event log, ItemWriter the catalogue
"""

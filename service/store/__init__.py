"""Backends of the event log: each implements `service.core.ports.Store` for its URL schemes."""

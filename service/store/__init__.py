"""Event logs and snapshots: one contract (`core.ports.Store`), one backend for each URL scheme."""

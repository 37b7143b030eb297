"""Read tables and histories of events."""

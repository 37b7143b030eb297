"""Event types in training: their rules, and the types of a log's events."""

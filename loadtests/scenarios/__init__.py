"""Load scenarios against the running service, one module per question."""

"""Columns: the attributes of all items in one worker, as arrays."""

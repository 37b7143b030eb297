"""Compiled filters: bitmaps that follow the changes of the columns."""

"""Filter bitmaps, which follow the changes of the columns."""

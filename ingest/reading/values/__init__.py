"""Values of one column: ids and times."""

"""Search of the rows that an often used filter allows, from a compact copy of them."""

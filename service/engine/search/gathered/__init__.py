"""Rows that often used filters allow, in compact copies."""

"""Questions under filters, beside the same questions without a filter."""

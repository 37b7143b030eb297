"""Read events from files of any common form, and load them."""

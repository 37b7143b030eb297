"""Types of events: what a model does with each, and which items they exclude."""

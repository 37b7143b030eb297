"""Types of the events that models are trained on."""

"""Parts of a start: what is opened, and checks before."""

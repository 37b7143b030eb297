"""CPU per request with a part of the service and without it."""

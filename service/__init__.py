"""Everything online: the HTTP service that answers events with recommendations. It never trains."""

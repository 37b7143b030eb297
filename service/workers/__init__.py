"""Worker processes of one server."""

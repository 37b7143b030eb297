"""Online service: records events and answers with recommendations over HTTP."""

"""HTTP API: application, middleware, routes, schemas and error responses."""

"""HTTP: routes, schemas, the one error table, access keys, limits, metrics and logs."""

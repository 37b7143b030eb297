"""Everything around a measurement: servers, seeded stores, catalogues, CPU and memory."""

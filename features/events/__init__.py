"""The event log: schema, durable storage, imports, and the simulator as one more source."""

"""L4: one client connection, from its greeting to its close."""

"""PostgreSQL, Valkey and the engine's processes, started on this machine by one command (extra `embedded`)."""

"""Structured logs: one JSON object, or one readable line, for each thing that happens in a process."""

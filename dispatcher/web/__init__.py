"""The HTTP kit that the native API and the dialects share."""

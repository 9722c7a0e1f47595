"""The result of a request: judged, decided, recorded."""

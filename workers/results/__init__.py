"""What came of a request: judged, decided, recorded."""

"""The transport on requests: a thread for each request in flight."""

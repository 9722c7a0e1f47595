"""The transport on libcurl: one event loop, many requests in flight."""

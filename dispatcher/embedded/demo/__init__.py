"""The demo: a whole engine at work."""

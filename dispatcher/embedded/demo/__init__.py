"""The demo: a whole engine, shown at work."""

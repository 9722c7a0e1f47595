"""The measures: each runs a contestant once and returns its figures."""

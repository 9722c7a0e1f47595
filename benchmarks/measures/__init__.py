"""The measures: each runs a contestant once and gives its figures."""

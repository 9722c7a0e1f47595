"""Measures this engine against a common approach and a peer, on one machine, in one run: `./run.sh bench`."""

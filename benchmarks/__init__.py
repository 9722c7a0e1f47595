"""Measures this engine beside what people write and beside a peer, on one machine, in one run: `./run.sh bench`."""

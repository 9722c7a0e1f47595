"""An installation under steady load for long, and what of it grows: `./run.sh soak`."""

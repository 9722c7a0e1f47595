"""The cases of the fault suite: `./run.sh faults`."""

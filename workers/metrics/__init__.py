"""What the children of a node count, and the port on which its main process shows the sums."""

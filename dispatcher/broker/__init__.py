"""The broker: what its URL says, who connects to it, and what a process does while it is away."""

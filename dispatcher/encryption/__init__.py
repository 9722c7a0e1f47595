"""Secrets at rest: the vault, and the rotation of its keys."""

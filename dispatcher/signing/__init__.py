"""Signatures of callbacks: keys, schemes, signing."""

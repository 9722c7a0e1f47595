"""Deliveries: their history, and sending them again."""

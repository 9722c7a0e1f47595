"""Deliveries: their history and their redelivery."""

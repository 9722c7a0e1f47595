"""Registered webhooks: their contract, their secrets, and how they are made and changed."""

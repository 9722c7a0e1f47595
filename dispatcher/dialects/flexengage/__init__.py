"""flexEngage's webhooks of a brand, and the log of their events."""

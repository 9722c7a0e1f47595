"""What producers hand in: events are checked, stored and listed."""

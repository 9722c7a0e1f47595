"""Events from producers: checked, stored and listed."""

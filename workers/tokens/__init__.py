"""Access tokens that receivers ask for."""

"""Access tokens that receivers require."""

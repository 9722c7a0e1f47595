"""What is looked at, and how."""

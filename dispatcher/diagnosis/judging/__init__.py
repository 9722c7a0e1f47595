"""What the things that are looked at mean."""

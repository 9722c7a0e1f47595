"""What is due is claimed: fair over webhooks, bounded by limits."""

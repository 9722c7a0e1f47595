"""Claims what is due: fair to all webhooks, bounded by limits."""

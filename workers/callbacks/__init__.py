"""What is sent: targets, batches, requests."""

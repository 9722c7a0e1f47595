"""What came of requests, in spans of 5 minutes, hours and days: outcomes, and how long answers took."""

"""`/metrics`: what this API process counts, and what database, heartbeats and broker say of the whole installation."""

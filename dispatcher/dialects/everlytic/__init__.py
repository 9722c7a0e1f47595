"""Everlytic's webhooks of transactional SMS."""

"""Everlytic's webhooks for transactional SMS."""

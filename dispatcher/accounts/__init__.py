"""Accounts own webhooks and events; API keys act for them."""

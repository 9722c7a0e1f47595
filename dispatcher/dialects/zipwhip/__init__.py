"""Zipwhip's webhooks: `/webhook/add`, `/update`, `/list`, `/delete`, and `/user/login`."""

"""BulkSMS's webhooks (JSON REST API, version 1): `/v1/webhooks`."""

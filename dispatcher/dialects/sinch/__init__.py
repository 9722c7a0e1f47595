"""The webhooks of Sinch's Conversation API."""

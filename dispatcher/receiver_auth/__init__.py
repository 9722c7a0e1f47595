"""How callbacks authenticate to receivers: Basic, Bearer, OAuth2 tokens."""

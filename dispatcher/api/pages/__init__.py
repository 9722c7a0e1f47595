"""Pages for people: what is served here, and the API's documentation."""

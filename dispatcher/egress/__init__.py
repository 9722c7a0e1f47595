"""Where requests may go, and in which form: addresses, URLs, header names."""

"""How requests are sent: one port, two transports behind it."""

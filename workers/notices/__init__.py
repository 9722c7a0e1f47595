"""Problem notices: observed, claimed, mailed."""

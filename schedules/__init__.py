"""When things happen: retries, notices, periodic work. Pure data and arithmetic; no function reads a clock."""

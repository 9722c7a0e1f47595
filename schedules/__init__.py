"""When things happen: retries, notices, periodic work. Pure data and arithmetic; everything takes `now`."""

"""Questions in, metrics out: the query side, and the Prometheus scrape."""

"""The query API: endpoints that count and list events, and their Prometheus instruments."""

"""What operators see: health, Prometheus, the ledger, and the saturation header."""

"""Endpoints and headers for operators: health, Prometheus, the ledger, and saturation."""

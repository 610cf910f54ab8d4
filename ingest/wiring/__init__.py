"""Builds the parts of a worker from settings. Only this package and `ingest.app` know all parts."""

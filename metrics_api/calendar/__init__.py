"""Time zones, calendar steps and buckets: pure arithmetic, without SQL or HTTP."""

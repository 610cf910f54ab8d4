"""HTTP events in: decode, validate, identify, deduplicate, buffer, flush."""

"""Load generation and measurement: speaks HTTP to the service, imports none of it."""

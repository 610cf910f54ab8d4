"""What makes load: events and an HTTP client."""

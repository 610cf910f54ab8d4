"""Generated events, and an HTTP client that sends them."""

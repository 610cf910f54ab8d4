"""HTTP, cache and formats around the endpoints. Read `resources` first."""

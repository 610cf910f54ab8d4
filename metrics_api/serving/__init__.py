"""HTTP resources, caches and formats around the endpoints. Read `resources` first."""

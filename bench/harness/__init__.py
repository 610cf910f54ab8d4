"""What benchmarks are made of: services, processes, Locust runs and reports."""

"""Load generation and benchmarks. They use HTTP; only `bench.breakdown` imports the service."""

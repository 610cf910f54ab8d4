"""The contenders that `bench.compare` measures beside the service."""

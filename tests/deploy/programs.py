"""Programs of the distribution that some tests need."""

import os
import shutil

import pytest


def require(program: str) -> str:
    """Its path; without it the test is skipped, but never in CI, which installs it."""
    path = shutil.which(program)
    if path is None and "CI" not in os.environ:
        pytest.skip(f"{program} is not installed")
    assert path is not None, f"{program} is not installed"
    return path

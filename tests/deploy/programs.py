"""Programs and files of the distribution that some tests need."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """Its path; without it the test is skipped, but never in CI, which installs it."""
    path = shutil.which(program)
    if path is None:
        _is_missing(program)
    return path


def require_file(path: Path) -> Path:
    """The same of a file that is no program."""
    if not path.exists():
        _is_missing(str(path))
    return path


def _is_missing(what: str) -> NoReturn:
    if "CI" not in os.environ:
        pytest.skip(f"{what} is not installed")
    pytest.fail(f"{what} is not installed")

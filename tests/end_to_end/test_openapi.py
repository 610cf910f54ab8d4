"""The service answers as its OpenAPI document says: Schemathesis asks."""

import subprocess
import sys
from pathlib import Path

from bench.harness.service import Service

# The document is the same whatever storage there is.
SERVICE_MODES = ("embedded",)


def test_schemathesis_finds_no_answer_that_is_not_documented(service: Service) -> None:
    line = [str(Path(sys.executable).parent / "schemathesis"), "run"]
    line += [f"{service.url}/openapi.json", "--mode", "all", "--max-examples", "8", "--seed", "1"]
    # A schema can't say all our rules (no NUL, years, from before to), so that the two checks of
    # what is accepted stay out; every answer must still be a documented one.
    line += ["--exclude-checks", "positive_data_acceptance,negative_data_rejection"]
    line += ["--suppress-health-check", "all"]
    done = subprocess.run(line, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout.decode()

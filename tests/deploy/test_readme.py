"""The commands of "From laptop to cluster" are ones that the programs they name take."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text().split("## From laptop to cluster")[1].split("\n## ")[0]
COMMANDS = [
    command.strip()
    for block in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    for line in block.splitlines()
    for command in line.split("&&")
    if command.strip()
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", [c for c in COMMANDS if "event-stream " in c and "uv run" in c])
def test_our_own_commands_have_these_options(command: str) -> None:
    """With --help they do nothing but to read their options."""
    words = shlex.split(command)[2:]
    line = [Path(sys.executable).parent / words[0], *words[1:], "--help"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    wrong = subprocess.run([*line[:-1], "--no-such-option"], capture_output=True, timeout=60)
    assert wrong.returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_file_that_is_named_is_there(command: str) -> None:
    for word in shlex.split(command):
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file(), word

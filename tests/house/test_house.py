"""House rules: sizes, who may read the environment, and what must be documented."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from ingest.config.settings import ENV_PREFIX, Settings
from ingest.http import errors as http_errors
from ingest.ledger import Ledger
from ingest.monitoring.instruments import EventCountsCollector, FlushInstruments, RequestInstruments
from ingest.pipeline.ring_buffer import RingBuffer
from metrics_api import errors as query_errors
from metrics_api.instruments import QueryInstruments
from storage import errors as storage_errors
from storage.dead_letters import DeadLetters

ROOT = Path(__file__).parents[2]
PACKAGES = ("ingest", "storage", "metrics_api", "bench")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("**/*.py"))]
LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX = 300, 60, 7
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def documentation(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_MAX
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short_and_constructors_take_few_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assert node.end_lineno is not None
        assert node.end_lineno - node.lineno < FUNCTION_LINES_MAX, node.name
        if node.name == "__init__":
            parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert len(parameters) - 1 <= PARAMETERS_MAX, f"line {node.lineno}"


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_test_assigns_a_private_attribute_of_another_object(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            assert of_self or not node.attr.startswith("_"), f"line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_settings_read_the_environment(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "bench" or path.name == "settings.py":
        return
    assert not re.search(r"\bos\.(environ|getenv)", path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_lint_exception_names_its_rule(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert not re.search(r"# (noqa|type: ignore)\s*$", line)


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from settings(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def test_the_parent_of_the_workers_loads_neither_arrow_nor_the_engine() -> None:
    """They would take a third of its memory, and of the time of every command."""
    code = "import sys, ingest.cli.main, ingest.server.supervisor; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"pyarrow", "numpy", "chdb", "clickhouse_connect"}.isdisjoint(loaded)


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    text = documentation("configuration.md")
    for name, default in settings(Settings):
        variable = ENV_PREFIX + name.upper().replace(".", "__")
        [row] = [line for line in text.splitlines() if line.startswith(f"| `{name}` ")]
        assert f"`{variable}`" in row
        if default not in (None, ()) and not isinstance(default, Path):
            assert re.search(rf"\b{re.escape(str(default))}\b", row.replace(",", "")), row


def test_every_instrument_is_documented() -> None:
    registry = CollectorRegistry()
    FlushInstruments(registry)
    RequestInstruments(registry)
    QueryInstruments(registry)
    ring = RingBuffer(slots_max=1, rows_max=1, bytes_max=1, clock=lambda: 0.0)
    dead = DeadLetters(ROOT, bytes_max=1)
    registry.register(EventCountsCollector(ledger=Ledger(), ring=ring, wal=None, dead_letters=dead))
    text = documentation("operations.md")
    for family in registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        assert f"`{family.name}{suffix}`" in text


def test_every_error_has_a_status_that_is_documented() -> None:
    text = documentation("http-api.md")
    for status in {*http_errors.STATUSES.values(), *query_errors.STATUSES.values()}:
        assert re.search(rf"^\| {status} \|", text, re.MULTILINE), status


def test_every_error_of_a_request_has_a_status() -> None:
    from ingest.errors import IngestError

    def subclasses(kind: type) -> Iterator[type]:
        for child in kind.__subclasses__():
            yield child
            yield from subclasses(child)

    assert set(subclasses(IngestError)) == set(http_errors.STATUSES)
    assert set(subclasses(query_errors.QueryError)) == set(query_errors.STATUSES)


def test_no_storage_code_is_in_two_classes() -> None:
    assert not set(storage_errors.PAUSING_CODES) & set(storage_errors.PERMANENT_CODES)


def test_the_openapi_document_knows_every_status_that_an_error_has() -> None:
    from ingest.http.openapi_errors import ERRORS

    statuses = {*http_errors.STATUSES.values(), *query_errors.STATUSES.values(), 500}
    assert set(ERRORS) == statuses

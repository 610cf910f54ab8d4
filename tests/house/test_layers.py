"""Who may import whom: one table for each package, and a few rules for libraries."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = {
    "ingest": [
        ["__main__"],
        ["cli"],
        ["server"],
        ["app"],
        ["wiring"],
        ["http", "monitoring", "worker"],
        ["auth", "pipeline"],
        ["parsing"],
        ["event"],
        ["config", "errors", "ledger", "clock", "process"],
    ],
    "metrics_api": [
        ["routes", "openapi"],
        ["serving"],
        ["endpoints"],
        ["query"],
        ["calendar"],
        ["errors", "instruments"],
    ],
    "storage": [
        ["dead_letters"],
        ["tables"],
        ["clickhouse", "wal"],
        ["errors", "files", "ipc_memory", "redis"],
    ],
}
"""Each line may import the lines below it, and `storage`; parts on one line are independent."""

ONLY_FOR = {
    "ingest.config": ("ingest.cli", "ingest.server", "ingest.app", "ingest.wiring"),
    "metrics_api": ("ingest.app", "ingest.wiring"),
    "bench": ("ingest.cli",),
    "falcon": (
        "ingest.app",
        "ingest.wiring",
        "ingest.http",
        "ingest.auth",
        "ingest.monitoring",
        "metrics_api.serving",
    ),
    "clickhouse_connect": ("storage.clickhouse",),
    "granian": ("ingest.server",),
}
"""What only these packages may import, besides itself."""

BENCH_INSIDE = "bench.breakdown"
"""It times the steps of the pipeline from inside; the rest of `bench` only speaks HTTP."""
BENCH_MAY_TIME = (
    "ingest.parsing",
    "ingest.pipeline",
    "ingest.event",
    "ingest.process",
    "storage",
)
BASELINES = "bench.baselines"
"""What the service is compared with uses ClickHouse's own client."""

MODULES_MAX, MODULES_MIN = 12, 3


def sources() -> Iterator[tuple[str, Path]]:
    for package in (*LAYERS, "bench"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer(package: str, module: str) -> int | None:
    """The line that `module` is on; None for the package itself."""
    part = module.split(".")[1] if "." in module else ""
    found = [n for n, line in enumerate(LAYERS[package]) if part in line]
    return found[0] if found else None


def breaks_layers(module: str, imported: str) -> bool:
    package, other = module.split(".")[0], imported.split(".")[0]
    if package == "bench":
        allowed = BENCH_MAY_TIME if module == BENCH_INSIDE else ()
        return other in LAYERS and not any(is_in(imported, name) for name in allowed)
    if other not in LAYERS or other == "storage" != package:
        return False
    if other != package:
        return package != "ingest"  # what of metrics_api ingest may import is in ONLY_FOR
    own, below = layer(package, module), layer(package, imported)
    same = module.split(".")[:2] == imported.split(".")[:2]
    return not same and (own is None or below is None or own >= below)


def breaks_only_for(module: str, imported: str) -> bool:
    for name, allowed in ONLY_FOR.items():
        if not is_in(imported, name) or is_in(module, name):
            continue
        if name == "clickhouse_connect" and is_in(module, BASELINES):
            continue
        if not any(is_in(module, package) for package in allowed):
            return True
    return False


MODULES = list(sources())


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[module for module, _ in MODULES])
def test_imports_follow_the_table_of_layers(module: str, path: Path) -> None:
    against = [
        name
        for name in imports(path)
        if breaks_layers(module, name) or breaks_only_for(module, name)
    ]
    assert not against


def test_the_table_names_what_there_is() -> None:
    for package, lines in LAYERS.items():
        found = {
            path.stem if path.is_file() else path.name
            for path in (ROOT / package).iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert found - {"__init__"} == {name for line in lines for name in line}


def test_packages_have_a_few_modules_each() -> None:
    packages = [path.parent for _, path in MODULES if path.name == "__init__.py"]
    for package in packages:
        modules = [path for path in package.glob("*.py") if path.name != "__init__.py"]
        if package.parent != ROOT:
            assert MODULES_MIN <= len(modules) <= MODULES_MAX, package

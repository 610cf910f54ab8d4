"""What the documents name exists: files, modules, classes and functions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]
PACKAGES = ("ingest", "storage", "metrics_api", "bench", "tests", "docs", "deploy", "config")
FILES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.*")]
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".json", ".service")


def quoted(path: Path) -> list[str]:
    """All inline code of a document."""
    text = re.sub(r"^\s*```.*?^\s*```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def definitions() -> Iterator[str]:
    """Every class, function, method and constant of the packages: `name`, and `Class.name`."""
    for package in ("ingest", "storage", "metrics_api", "bench"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    yield node.name
                    for child in node.body:
                        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                            yield f"{node.name}.{child.name}"
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield node.name
                elif isinstance(node, ast.Assign | ast.AnnAssign):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    yield from (t.id for t in targets if isinstance(t, ast.Name))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    for text in quoted(path):
        if not re.fullmatch(r"[\w.][\w./-]*", text) or not text.endswith(SUFFIXES):
            continue
        if text.split("/")[0] in PACKAGES:
            assert (ROOT / text).exists(), text
        else:
            assert any(str(file).endswith(f"/{text}") for file in FILES), text


def test_code_that_the_architecture_page_names_exists() -> None:
    found = set(definitions())
    names = [
        text
        for text in quoted(ROOT / "docs" / "architecture.md")
        if re.fullmatch(r"_?[A-Z]\w*(\.\w+)?|_?[a-z]+(_[a-z]+)+", text)
    ]
    assert len(names) > 50
    assert not [name for name in names if name not in found]

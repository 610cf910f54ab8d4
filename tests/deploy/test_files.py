"""What is under deploy/ passes the tools that know it, and its steps work in a clean directory."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from bench.harness.service import Service, free_port
from ingest.config.settings import ENV_PREFIX, Settings
from storage.clickhouse.versions import NEWEST_TESTED, OLDEST
from tests.clickhouse.engine import release
from tests.deploy.programs import require

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def run(*line: str | Path, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in line], capture_output=True, text=True, timeout=300, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compose() -> dict:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def manifests() -> dict[str, dict]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "event-stream.yaml").read_text())
    return {document["kind"]: document for document in documents}


def test_hadolint_has_nothing_to_say() -> None:
    assert run(BIN / "hadolint", DEPLOY / "Dockerfile") == ""


def test_compose_is_what_its_schema_says() -> None:
    run(
        BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"
    )


def test_kubernetes_takes_the_manifests() -> None:
    run(BIN / "kubernetes-validate", "--strict", DEPLOY / "kubernetes" / "event-stream.yaml")


def test_promtool_takes_the_rules() -> None:
    promtool = require("promtool")
    rules = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    assert len(rules) == 2
    run(promtool, "check", "rules", *rules)


def test_promtool_takes_the_configuration(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    key = tmp_path / "prometheus.key"
    key.write_text("es_x")
    config = tmp_path / "prometheus" / "prometheus.yml"
    config.write_text(config.read_text().replace("/secrets/prometheus.key", str(key)))
    run(require("promtool"), "check", "config", config)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = (DEPLOY / "systemd" / "event-stream.service").read_text()
    installed = unit.replace("/opt/event-stream/.venv/bin/event-stream", str(BIN / "event-stream"))
    (tmp_path / "event-stream.service").write_text(installed)
    run(require("systemd-analyze"), "verify", tmp_path / "event-stream.service")


def test_every_file_that_compose_mounts_is_there_or_made() -> None:
    for name, service in compose()["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and source != "./secrets":
                assert (DEPLOY / source).exists(), (name, source)


def test_every_clickhouse_there_is_of_a_tested_version() -> None:
    text = "".join(path.read_text() for path in DEPLOY.rglob("*.yaml"))
    tags = re.findall(r"clickhouse/clickhouse-server(?::(\S+))?", text)
    assert tags
    for tag in tags:
        assert OLDEST <= release(tag) <= NEWEST_TESTED


def test_every_setting_that_is_set_there_is_one() -> None:
    names = set(compose()["services"]["event-stream"]["environment"])
    text = (DEPLOY / "Dockerfile").read_text() + (DEPLOY / "make-env").read_text()
    text += (DEPLOY / "kubernetes" / "event-stream.yaml").read_text()
    names |= set(re.findall(rf"\b{ENV_PREFIX}[A-Z_]+\b", text))
    assert len(names) > 4
    for name in names:
        model: object = Settings
        for part in name.removeprefix(ENV_PREFIX).lower().split("__"):
            model = model.model_fields[part].annotation  # type: ignore[attr-defined]


def test_the_settings_of_the_config_map_are_settings(tmp_path: Path) -> None:
    from ingest.config.settings import load_settings

    path = tmp_path / "config.yaml"
    path.write_text(manifests()["ConfigMap"]["data"]["config.yaml"])
    settings = load_settings(path, clickhouse_url="http://clickhouse:8123")
    assert settings.workers == 2
    assert str(settings.keys.file) == "/secrets/keys.json"


def test_make_env_makes_secrets_once_and_keeps_them(tmp_path: Path) -> None:
    require("bash")
    (tmp_path / "deploy").mkdir()
    shutil.copy(DEPLOY / "make-env", tmp_path / "deploy")
    # `uv run --project ..` of a clone: here the program that is tested.
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(f'#!/bin/sh\nshift 4\nexec "{BIN / "event-stream"}" "$@"\n')
    uv.chmod(0o755)
    environment = {**os.environ, "PATH": f"{uv.parent}:{os.environ['PATH']}"}
    made = run(tmp_path / "deploy" / "make-env", env=environment)
    assert re.search(r"^es_[0-9a-f]{12}_", made, re.M)
    secrets = tmp_path / "deploy" / "secrets"
    assert (secrets / "prometheus.key").read_text().startswith("es_")
    keys = json.loads((secrets / "keys.json").read_text())
    assert [key["scopes"] for key in keys] == [["admin"], ["ingest", "query"]]
    env = (tmp_path / "deploy" / ".env").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert set(re.findall(r"^([A-Z_]+)=\w{20,}$", env, re.M)) == wanted
    run(tmp_path / "deploy" / "make-env", env=environment)
    assert (tmp_path / "deploy" / ".env").read_text() == env
    assert json.loads((secrets / "keys.json").read_text()) == keys


def test_the_steps_of_the_image_make_a_service_that_runs(tmp_path: Path) -> None:
    """No container engine is needed: the files are copied and the commands run as it would."""
    steps = DockerfileParser(str(DEPLOY / "Dockerfile")).structure
    app = tmp_path / "app"
    app.mkdir()
    commands = []
    for step in steps:
        value = step["value"]
        if step["instruction"] == "COPY" and not value.startswith("--from"):
            *sources, target = value.split()
            for source in sources:
                to = app / target if target != "./" else app / source
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, to)
        elif step["instruction"] == "RUN" and value.startswith("uv "):
            commands.append(value.split())
    assert commands == [["uv", "sync", "--locked", "--no-dev", "--no-editable"]]
    environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    run(*commands[0], cwd=app, env=environment)
    for path in app.iterdir():  # the second stage has the environment alone
        if path.name != ".venv":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    program = app / ".venv" / "bin" / "event-stream"
    data = tmp_path / "data"
    # As the image starts it: on all addresses, which it refuses without a key.
    start = [program, "serve", "--host", "0.0.0.0", "--data-dir", data, "--port", str(free_port())]
    refused = subprocess.run(start, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert refused.returncode == 2
    assert "keys create" in refused.stderr
    key = run(program, "keys", "create", "x", "--scope", "ingest", "--data-dir", data).strip()
    service = Service(data, "--host", "0.0.0.0", program=[str(program)])
    service.start()
    try:
        reply = service.request(
            "POST",
            "/events",
            json={"name": "e", "channel_type": "web"},
            headers={"Authorization": f"Bearer {key}"},
        )
        assert reply.status == 201
    finally:
        assert service.stop() == 0


@pytest.mark.parametrize("kind", ["StatefulSet", "PodDisruptionBudget", "Service"])
def test_what_selects_pods_selects_ours(kind: str) -> None:
    selector = manifests()[kind]["spec"]["selector"]
    labels = manifests()["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert (selector.get("matchLabels") or selector).items() <= labels.items()

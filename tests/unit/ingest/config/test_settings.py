"""Settings: their sources and their order, and the messages for wrong settings."""

from pathlib import Path

import pytest

from ingest.config.settings import SettingsError, load_settings


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config.yaml"


def test_the_environment_wins_over_the_file_and_an_option_over_both(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("port: 1\nflush: {rows: 2, bytes: 3}\n")
    monkeypatch.setenv("EVENT_STREAM_FLUSH__ROWS", "20")
    settings = load_settings(config, port=100)
    assert (settings.port, settings.flush.rows, settings.flush.bytes) == (100, 20, 3)


def test_the_contract_s_file_is_understood(config: Path) -> None:
    config.write_text(
        'environment_type: "dev"\nport: 8080\ndatabase_type: "clickhouse"\n'
        'clickhouse_url: "http://user:1234@localhost:8123"\n'
        'log: {level: "info", format: "console"}\n'
    )
    settings = load_settings(config)
    assert settings.clickhouse_url == "http://user:1234@localhost:8123"


def test_defaults_need_no_file_and_listen_on_loopback(config: Path) -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.clickhouse_url) == ("127.0.0.1", 8080, None)


@pytest.mark.parametrize(
    ("text", "part"),
    [("prot: 1", "prot is not known"), ("flush: {row: 1}", "flush.row is not known"),
     ("port: http", "port"), ("port: 0", "port"), ("host: example.com", "host"),
     ("workers: 2", "clickhouse_url"), ("clickhouse_url: localhost", "http://"),
     ("log: {level: loud}", "log.level"), ("a: [", "YAML"), ("- a", "Settings"),
     ("wal: {bytes: 100}", "wal.segment_bytes"), ("flush: 1", "flush")],
)  # fmt: skip
def test_a_wrong_setting_is_named_in_one_line(config: Path, text: str, part: str) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError) as wrong:
        load_settings(config)
    assert part in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_password_in_a_wrong_url_is_not_shown(config: Path) -> None:
    config.write_text("clickhouse_url: tcp://user:secret@host\n")
    with pytest.raises(SettingsError) as wrong:
        load_settings(config)
    assert "secret" not in str(wrong.value)


def test_a_variable_that_is_no_setting_and_a_file_that_is_not_there_are_named(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"config\.yaml does not exist"):
        load_settings(config)
    monkeypatch.setenv("EVENT_STREAM_PROT", "1")
    with pytest.raises(SettingsError, match="EVENT_STREAM_PROT"):
        load_settings()


def test_a_setting_is_taken_under_its_old_name_for_one_version(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("buffer: {commit_rows: 7}\n")
    assert load_settings(config).buffer.batch_requests == 7
    monkeypatch.setenv("EVENT_STREAM_BUFFER__COMMIT_ROWS", "8")
    assert load_settings(config).buffer.batch_requests == 8
    monkeypatch.setenv("EVENT_STREAM_BUFFER__BATCH_REQUESTS", "9")
    assert load_settings(config).buffer.batch_requests == 9

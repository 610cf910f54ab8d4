"""`event-stream doctor`: compare the WAL, the dead letters and the table."""

from contextlib import nullcontext

import typer

from ingest.cli.options import ConfigOption, DataDirOption, UrlOption, command_settings, fail

READ_ALL_TIMEOUT_S = 3600


def doctor(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    clickhouse_url: UrlOption = None,
) -> None:
    """Compare the WAL, the dead letters and the table. Exits with 1 if there are problems.

    With embedded storage stop the service first: only one process can use the engine.
    """
    from ingest.cli.doctor_report import examine
    from ingest.server.preflight import StartError, locked
    from ingest.wiring.storage import open_client
    from storage.dead_letters import DeadLetters
    from storage.errors import StorageError
    from storage.tables.cluster import ClusterLayout

    settings = command_settings(config, data_dir, clickhouse_url)
    try:
        letters = DeadLetters(settings.data_dir, bytes_max=settings.dead_letters.bytes)
        embedded = settings.is_embedded
        with locked(settings.data_dir) if embedded else nullcontext():
            client = open_client(settings, timeout_s=READ_ALL_TIMEOUT_S)
            layout = ClusterLayout(settings.clickhouse_cluster)
            report = examine(settings.data_dir, letters, client, layout)
    except (StartError, StorageError) as error:
        fail(error)
    for line in report.facts:
        print(line)
    for line in report.faults:
        print(f"FAULT: {line}")
    print(
        "Problems found: see the lines that start with FAULT"
        if report.faults
        else "No problems found"
    )
    raise typer.Exit(1 if report.faults else 0)

"""`event-stream migrate`: create the tables or bring them up to date."""

from typing import Annotated

import typer

from ingest.cli.options import ConfigOption, DataDirOption, UrlOption, command_settings, fail


def migrate(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    clickhouse_url: UrlOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL without sending it")
    ] = False,
) -> None:
    """Create the tables or bring them up to date, and use shards that were added to a cluster.

    The service does this too at its start, except for new shards, if its user has the rights CREATE
    and ALTER. To give the service only SELECT and INSERT, run this command as a user with more
    rights. With embedded storage stop the service first: only one process can use the engine.
    """
    from ingest.event.arrow import TABLE_SCHEMA
    from ingest.server.preflight import StartError, locked
    from ingest.wiring.storage import migration_lock, open_client
    from storage.clickhouse.client import prepare_embedded
    from storage.errors import StorageError
    from storage.tables.cluster import ClusterLayout
    from storage.tables.migrations import apply_pending, pending

    settings = command_settings(config, data_dir, clickhouse_url)
    try:
        embedded = settings.is_embedded
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        if embedded:
            prepare_embedded(settings.data_dir)
        with locked(settings.data_dir) if embedded else migration_lock(settings.data_dir):
            client = open_client(settings)
            layout = ClusterLayout(settings.clickhouse_cluster)
            if dry_run:
                changes = pending(client, TABLE_SCHEMA, layout=layout)
                for change in changes:
                    print(f"-- {change.name}")
                    print(*(f"{statement};" for statement in change.statements), sep="\n")
            else:
                changes = []
                for change in apply_pending(client, TABLE_SCHEMA, layout=layout, as_operator=True):
                    changes.append(change)
                    print(change.name)
    except (OSError, StartError, StorageError) as error:
        fail(error)
    if not changes:
        print("-- nothing to do" if dry_run else "nothing to do")

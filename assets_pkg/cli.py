"""The command `lakehouse`: thin over the functions that Dagster calls."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from assets_pkg import cli_keys, cli_models, cli_rejects
from assets_pkg.home import HomeError, prepare
from lake import s3, spark_dbt
from lake.settings import Settings, absolute_uri, get_settings
from lake.store import Lake
from lake.tables import TABLES

if TYPE_CHECKING:
    from lake.backup import Manifest

app = typer.Typer(
    name="lakehouse",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The asset lakehouse: prices, indicators, models, forecasts and drift reports as one lineage graph.",
)
app.add_typer(cli_rejects.app, name="rejects")
app.add_typer(cli_keys.app, name="keys")
for command in (
    cli_models.promote,
    cli_models.rollback,
    cli_models.challenge,
    cli_models.reproduce,
    cli_models.lineage,
):
    app.command()(command)

_NEEDED_MIB = 1024
_BITEMPORAL = ", ".join(name.replace("/", ".") for name, spec in TABLES.items() if spec.known_since)
StopWithParent = Annotated[bool, typer.Option("--stop-with-parent", help="Stop when the calling process dies.")]
Alone = Annotated[bool, typer.Option("--alone", help="Nothing else works in this home: end the runs left unfinished.")]

AsOf = Annotated[
    str,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Answer with what was known at this time, for example 2026-11-01T12:00 (UTC, unless it has a zone). "
        f"Bitemporal tables ({_BITEMPORAL}) show the rows that had come in by then, market tables what their SQL makes "
        "of those, all others their version of that time.",
    ),
]


@app.command()
def up(
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Start the MLflow UI too.")] = False,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Materialise what is missing, then serve the Dagster UI and the API until Ctrl-C."""
    from assets_pkg import up as serve

    settings = _prepared(_NEEDED_MIB)
    _follow_parent(stop_with_parent)
    try:
        serve.up(settings, mlflow)
    except serve.UpError as error:
        _fail(str(error))


@app.command()
def materialize(
    select: Annotated[
        str, typer.Option("--select", help="Assets in Dagster's selection syntax, for example 'group:market' or '*'.")
    ] = "*",
    missing: Annotated[bool, typer.Option("--missing", help="Only what was never made, and all after it.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", exists=True, dir_okay=False, help="YAML file with Dagster run config.")
    ] = None,
    alone: Alone = False,
    stop_with_parent: StopWithParent = False,
) -> None:
    """Materialise assets, with a line of progress for each."""
    settings = _prepared(_NEEDED_MIB)
    _follow_parent(stop_with_parent)
    import warnings

    import dagster as dg
    import yaml

    warnings.filterwarnings("ignore", category=dg.BetaWarning)

    from assets_pkg import materialize as graph
    from assets_pkg.definitions import build_definitions

    definitions = build_definitions()
    try:
        run_config = yaml.safe_load(config.read_text()) if config else None
        dg.validate_run_config(definitions.resolve_job_def("everything"), run_config)
    except Exception as error:
        _fail(f"{config} is not the run config of this graph: {error}")
    with dg.DagsterInstance.get() as instance:
        graph.end_broken_runs(instance, alone)
        try:
            keys = graph.select(definitions, select)
        except ValueError as error:
            _fail(str(error))
        if missing:
            keys &= graph.missing(definitions, instance, Lake.from_settings(settings))
        if not keys:
            print("Nothing to do: every asset is materialised.")
            return
        print(f"Materialising {len(keys)} assets into {settings.lake_uri}", flush=True)
        terminal, log = sys.stdout, settings.home / "logs" / "materialize.log"
        with log.open("w") as libraries, redirect_stdout(libraries), redirect_stderr(libraries):
            worked = graph.materialize(
                definitions, instance, keys, lambda line: print(line, file=terminal, flush=True), run_config
            )
    if not worked:
        s3.check(settings)
        _fail(f"not all assets could be materialised; what dbt, MLflow and Keras said is in {log}")


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="CSV or Parquet files of bars.")],
) -> None:
    """Ingest files of bars into raw/bars; what is wrong goes to raw/rejects, what looks wrong is flagged too."""
    from lake.landing import ingest_file
    from lake.sources.failover import declare_instruments, ordered_sources
    from lake.sources.files import UnreadableFileError

    settings = _prepared()
    lake = Lake.from_settings(settings)
    declare_instruments(lake, settings, ordered_sources(settings), keep=True)
    accepted, failed = 0, False
    for path in files:
        try:
            batch = ingest_file(lake, path)
        except UnreadableFileError as error:
            print(error, file=sys.stderr)
            failed = True
            continue
        accepted += batch.accepted
        if batch.unchanged == batch.received:
            print(f"{path.name}: all {batch.received} rows are known: nothing was added")
            continue
        print(
            f"{path.name}: {batch.received} received = {batch.accepted} accepted + {batch.unchanged} unchanged "
            f"+ {batch.rejected} rejected"
        )
        _print_rejects(lake, batch.batch_id)
        _print_flags(lake, batch.batch_id)
    if accepted:
        _report_ingested(lake)
    if failed:
        raise typer.Exit(1)


@app.command()
def backfill(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First session.")],
    end: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last session. Default: yesterday.")
    ] = None,
    symbols: Annotated[str, typer.Option("--symbols", help="Comma-separated. Default: all of LAKEHOUSE_SOURCES.")] = "",
    interval: Annotated[str, typer.Option("--interval", help="1d, 1h or 1m.")] = "1d",
    again: Annotated[
        bool, typer.Option("--again", help="Ask for what was brought in before too: for late corrections.")
    ] = False,
) -> None:
    """Bring a past range in from the live sources; stopped and started again, it asks for what is missing."""
    from lake.backfill import BackfillError
    from lake.backfill import backfill as bring_in

    settings = _prepared()
    lake = Lake.from_settings(settings)
    try:
        report = bring_in(
            lake,
            settings,
            start.date(),
            end.date() if end else None,
            symbols=[symbol.strip() for symbol in symbols.split(",") if symbol.strip()],
            interval=interval,
            again=again,
            say=lambda line: print(line, flush=True),
        )
    except (BackfillError, KeyError) as error:
        _fail(str(error.args[0]))
    if any(batch.accepted for batch in report.batches):
        _report_ingested(lake)
    if report.missing:
        for name in report.missing:
            print(f"{name}: {'; '.join(report.failures[name])}", file=sys.stderr)
        _fail("this did not come; the same command asks for it again")


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="SQL of DuckDB; lake table market/bars reads as market.bars.")],
    rows: Annotated[int, typer.Option(help="Show at most so many rows.")] = 40,
    as_of: AsOf = "",
) -> None:
    """Run SQL over the lake, for example: lakehouse query "select * from market.bars where symbol = 'AAPL'"."""
    import duckdb

    from lake.duck import connect, utc_time

    try:
        time = utc_time(as_of) if as_of else None
    except ValueError as error:
        _fail(str(error))
    lake = Lake.from_settings(_prepared())
    models: dict[str, str] = {}
    if time is not None:
        from assets_pkg.resources.dbt import model_queries

        models = model_queries()
    with connect(lake, as_of=time) as connection:
        try:
            if models:
                from lake.derived import define_models

                define_models(connection, models)
            relation = connection.sql(sql)
        except duckdb.Error as error:
            _fail(str(error))
        if relation is not None:
            relation.show(max_rows=rows, max_width=_width())


@app.command()
def status() -> None:
    """Show every table of the lake: rows, size, newest session, versions and pins; and the champions."""
    from assets_pkg.cli_status import status_lines

    for line in status_lines(_prepared()):
        print(line)


@app.command()
def backup(
    destination: Annotated[str, typer.Argument(metavar="DEST", help="An empty folder, or s3://bucket/prefix.")],
) -> None:
    """Copy tables, model registry, reports and catalogue to DEST; whoever writes meanwhile goes on."""
    from lake.backup import BackupError
    from lake.backup import backup as back_up

    settings = _prepared()
    destination = _place("DEST", destination, settings)
    try:
        manifest = back_up(settings, destination)
    except (BackupError, OSError) as error:
        _fail(str(error))
    _print_manifest(manifest)
    if not manifest.registry:
        print("Without a model registry: it is on a server, whose database is not ours to back up, or not there yet.")


@app.command()
def restore(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A backup: a folder, or s3://bucket/prefix.")],
) -> None:
    """Bring a backup back into an empty home (LAKEHOUSE_HOME), wherever it came from."""
    from lake.backup import BackupError
    from lake.backup import restore as bring_back

    settings = get_settings()
    source = _place("SOURCE", source, settings)
    try:
        manifest = bring_back(settings, source)
    except (BackupError, OSError) as error:
        _fail(str(error))
    _print_manifest(manifest)
    print(f"Restored into {settings.home}. Dagster's history starts anew: `lakehouse up` runs the graph once.")


def main() -> None:
    """Entry point; a wrong setting and an S3 that cannot be used are told in one line."""
    try:
        app()
    except ValidationError as error:
        for problem in error.errors():
            name = "__".join(str(part) for part in problem["loc"]).upper()
            print(f"lakehouse: setting LAKEHOUSE_{name}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        reason = _s3_problem(error)
        if reason is None:
            raise
        print(f"lakehouse: {reason}", file=sys.stderr)
        sys.exit(1)


def _s3_problem(error: Exception) -> str | None:
    """What is wrong with S3, if that is why a library has raised an error of its own; None if nothing is."""
    try:
        if not isinstance(error, s3.S3Error):
            s3.check(get_settings())
    except s3.S3Error as found:
        error = found
    return str(error) if isinstance(error, s3.S3Error) else None


def _prepared(needed_mib: int = 0) -> Settings:
    settings = get_settings()
    try:
        prepare(settings, needed_mib)
        spark_dbt.check(settings)
    except (HomeError, spark_dbt.EngineError) as error:
        _fail(str(error))
    s3.check(settings)
    return settings


def _follow_parent(wanted: bool) -> None:
    if wanted:
        from assets_pkg.processes import stop_with_parent

        stop_with_parent()


def _fail(message: str) -> None:
    print(f"lakehouse: {message}", file=sys.stderr)
    raise typer.Exit(1)


def _report_ingested(lake: Lake) -> None:
    import dagster as dg

    from assets_pkg.materialize import report_ingested
    from lake.calendars import write_sessions

    write_sessions(lake)  # they reach back to the first bar
    with dg.DagsterInstance.get() as instance:
        report_ingested(instance, lake)
    print("While `lakehouse up` serves, the graph follows by itself; else: lakehouse materialize")


def _print_rejects(lake: Lake, batch_id: str) -> None:
    import pyarrow.compute as pc

    rejects = lake.read("raw/rejects", ["row_number", "reason"], pc.field("batch_id") == batch_id)
    for reject in rejects.sort_by("row_number").slice(0, 20).to_pylist():
        print(f"  row {reject['row_number']}: {reject['reason']}")
    if rejects.num_rows > 20:
        print(f"  ... and {rejects.num_rows - 20} more: lakehouse rejects list --batch {batch_id}")


def _place(argument: str, uri: str, settings: Settings) -> str:
    """The place of a backup, absolute; a bucket must answer."""
    if s3.is_remote(uri):
        s3.check_bucket(argument, uri, settings)
    return absolute_uri(uri)


def _print_manifest(manifest: "Manifest") -> None:
    size = sum(file.size for file in manifest.files.values())
    at = f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC"
    print(f"{len(manifest.tables)} tables as of {at}: {len(manifest.files):,} files, {size / 1e6:,.1f} MB")


def _print_flags(lake: Lake, batch_id: str) -> None:
    import pyarrow.compute as pc

    flags = lake.read("raw/flags", ["symbol", "ts", "rule", "reason"], pc.field("batch_id") == batch_id)
    for flag in flags.sort_by([("symbol", "ascending"), ("ts", "ascending")]).slice(0, 20).to_pylist():
        print(f"  flagged {flag['symbol']} {flag['ts']:%Y-%m-%d %H:%M}: {flag['rule']}: {flag['reason']}")
    if flags.num_rows > 20:
        print(f"  ... and {flags.num_rows - 20} more: lakehouse query \"from raw.flags where batch_id = '{batch_id}'\"")


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((160, 40)).columns


if __name__ == "__main__":
    main()

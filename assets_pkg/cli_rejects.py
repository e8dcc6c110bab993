"""The commands `lakehouse rejects ...`: list, export and replay rows that ingestion refused."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assets_pkg.home import HomeError, prepare
from lake.settings import get_settings
from lake.store import Lake

if TYPE_CHECKING:
    from lake.rejects import Replay

app = typer.Typer(
    no_args_is_help=True,
    help="Rows that ingestion refused: list them, export a batch to fix it by hand, replay what was fixed.",
)
Batch = Annotated[str, typer.Option("--batch", help="Batch id, or its beginning.")]


@app.command("list")
def list_(
    batch: Batch = "",
    source: Annotated[str, typer.Option("--source", help="For example file.")] = "",
    rule: Annotated[str, typer.Option("--rule", help="For example price_positive.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 40,
) -> None:
    """Show rejected rows, newest batch first, with the rule that they broke."""
    from lake.rejects import list_rejects

    found = list_rejects(_lake(), batch=batch, source=source, rule=rule, resolved=everything)
    if found.empty:
        print("No rejected rows.")
        return
    print(f"{'batch':<18}{'source':<12}{'origin':<24}{'row':>7}  {'symbol':<10}{'session':<12}{'rule':<22}reason")
    for reject in found.head(rows).to_dict("records"):
        symbol = "" if reject["symbol"] is None else reject["symbol"]
        session = "" if reject["ts"] is None or reject["ts"] != reject["ts"] else f"{reject['ts']:%Y-%m-%d}"
        done = f" (resolved by {reject['resolved_by']})" if isinstance(reject["resolved_by"], str) else ""
        print(
            f"{reject['batch_id']:<18}{_cut(reject['source'], 11):<12}{_cut(reject['origin'], 23):<24}"
            f"{reject['row_number']:>7}  {_cut(symbol, 9):<10}{session:<12}{_cut(reject['rule'], 21):<22}"
            f"{_cut(reject['reason'], 200)}{done}"
        )
    if len(found) > rows:
        print(f"... and {len(found) - rows:,} more: --rows {len(found)}")


@app.command()
def export(
    batch: Annotated[str, typer.Argument(help="Batch id, or its beginning.")],
    file: Annotated[Path, typer.Argument(help="CSV file to write.", dir_okay=False)],
) -> None:
    """Write the open rejects of a batch as CSV: their original cells, with rule and reason. Fix it, then replay it."""
    from lake.rejects import RejectsError, export_rejects

    if file.exists():
        _fail(f"{file} is there already; fixes in it would be lost")
    try:
        count = export_rejects(_lake(), batch, file)
    except RejectsError as error:
        _fail(str(error))
    print(f"{count} rows in {file}: fix their cells, then `lakehouse rejects replay {file}`")


@app.command()
def replay(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="An exported file with fixed rows.")
    ] = None,
    batch: Annotated[
        str, typer.Option("--batch", help="Instead of a file: judge a batch's rejects anew, as they are.")
    ] = "",
) -> None:
    """Ingest fixed rows, and note which rejects that resolved; the same again adds nothing."""
    from lake.rejects import RejectsError, replay_batch, replay_file
    from lake.sources.files import UnreadableFileError

    if (file is None) == (not batch):
        _fail("say a file, or --batch")
    lake = _lake()
    try:
        done = replay_batch(lake, batch) if file is None else replay_file(lake, file)
    except (RejectsError, UnreadableFileError) as error:
        _fail(str(error))
    _print_replay(lake, done)


def _print_replay(lake: Lake, done: "Replay") -> None:
    import pyarrow.compute as pc

    batch = done.batch
    print(
        f"batch {batch.batch_id}: {batch.received} received = {batch.accepted} accepted + {batch.unchanged} unchanged "
        f"+ {batch.rejected} rejected; {done.resolved} rejects of {done.of_batch} are resolved"
    )
    again = lake.read("raw/rejects", ["row_number", "reason"], pc.field("batch_id") == batch.batch_id)
    for reject in again.sort_by("row_number").slice(0, 20).to_pylist():
        print(f"  row {reject['row_number']}: {reject['reason']}")
    if batch.rejected:
        raise typer.Exit(1)


def _lake() -> Lake:
    settings = get_settings()
    try:
        prepare(settings)
    except HomeError as error:
        _fail(str(error))
    return Lake.from_settings(settings)


def _cut(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _fail(message: str) -> None:
    print(f"lakehouse: {message}", file=sys.stderr)
    raise typer.Exit(1)

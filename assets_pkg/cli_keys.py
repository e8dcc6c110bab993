"""The commands `lakehouse keys ...`: make, list and revoke the keys of the API."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from lake.api import ScopeName
from lake.settings import get_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Keys of the HTTP API. To rotate one: add another, let its owner change over, revoke the old one.",
)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whom or what it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="read, predict or admin; may be given several times.")
    ] = None,
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0: never.")] = 365,
) -> None:
    """Make a key and print it: only its hash is kept, so this is the only time."""
    from pydantic import TypeAdapter, ValidationError

    from serving import keys

    try:
        scopes = TypeAdapter(list[ScopeName]).validate_python(scope or ["read"])
        whole = keys.add(get_settings().keys_file, name, scopes, timedelta(days=days) if days else None)
    except ValidationError:
        _fail(f"scopes are read, predict and admin, not {', '.join(scope or ())}")
    except (keys.KeysError, OSError) as error:
        _fail(str(error))
    print(whole)


@app.command("list")
def list_() -> None:
    """Show every key that was ever made, without its secret."""
    from serving import keys

    try:
        known = keys.read(get_settings().keys_file)
    except keys.KeysError as error:
        _fail(str(error))
    print(f"{'id':<14}{'state':<9}{'scopes':<20}{'made':<12}{'expires':<12}name")
    for key in known:
        expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
        print(
            f"{key.id:<14}{key.state(datetime.now(UTC)):<9}{','.join(sorted(key.scopes)):<20}"
            f"{key.created_at:%Y-%m-%d}  {expires:<12}{key.name}"
        )


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")]) -> None:
    """End a key: within a second no running server takes it."""
    from serving import keys

    try:
        revoked = keys.revoke(get_settings().keys_file, key_id)
    except (keys.KeysError, OSError) as error:
        _fail(str(error))
    print(f"{revoked.id} ({revoked.name}) is revoked.")


def _fail(message: str) -> None:
    print(f"lakehouse: {message}", file=sys.stderr)
    raise typer.Exit(1)

"""Commands about registered models and what they said: `promote`, `rollback`, `challenge`, `reproduce`, `lineage`."""

import getpass
import socket
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assets_pkg.home import HomeError, prepare
from lake.settings import Settings, get_settings
from lake.store import Lake

if TYPE_CHECKING:
    from ml.registry import Registry

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Registered model: return_5d or volatility_5d.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Version in the registry, for example 3.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the audit.")]


def promote(model: Model, version: Version, why: Why) -> None:
    """Make a version the champion, whatever the gate says of it; the table models/audit tells who and why."""
    from ml.registry import RegistryError

    settings = _prepared()
    registry = _registry(settings)
    try:
        moved = registry.appoint(model, version, _who(), why)
    except RegistryError as error:
        _fail(str(error))
    _settle(settings, registry, model)
    print(f"Champion of {model} is version {version}." if moved else f"Version {version} is the champion already.")


def rollback(model: Model, why: Why) -> None:
    """Make the champion before the present one the champion again; the gate never brings the present one back."""
    from ml.registry import RegistryError

    settings = _prepared()
    registry = _registry(settings)
    try:
        version = registry.roll_back(model, _who(), why)
    except RegistryError as error:
        _fail(str(error))
    _settle(settings, registry, model)
    print(f"Champion of {model} is version {version} again.")


def challenge(
    model: Model,
    share: Annotated[
        float,
        typer.Option("--share", min=0, max=1, help="Share of the symbols that it serves; 0: it only forecasts."),
    ] = 0.0,
    stop: Annotated[bool, typer.Option("--stop", help="End the challenge.")] = False,
) -> None:
    """Let the challenger forecast beside the champion, in the shadow or for a share of the symbols; or stop it."""
    from ml.registry import RegistryError

    registry = _registry(_prepared())
    try:
        version = registry.challenge(model, None if stop else share)
    except RegistryError as error:
        _fail(str(error))
    _announce(model)
    if stop:
        print(f"No challenger of {model} forecasts.")
    elif version is None:
        print(f"The newest challenger of {model} is the champion: the next one that is trained will forecast.")
    else:
        print(f"Version {version} of {model} forecasts as challenger and serves {share:.0%} of the symbols.")


def reproduce(model: Model, version: Version) -> None:
    """Train a registered version anew from its pinned lake versions and compare; fails where the weights differ."""
    from deltalake.exceptions import DeltaError

    from assets_pkg.versions import code_version
    from ml.registry import RegistryError
    from ml.reproduction import reproduce as train_anew

    settings = _prepared()
    try:
        found = train_anew(Lake.from_settings(settings), _registry(settings), model, version, code_version())
    except (RegistryError, DeltaError) as error:
        _fail(str(error))
    for what, stored, rebuilt in (
        ("file", found.digest, found.rebuilt_digest),
        ("weights", found.weights, found.rebuilt_weights),
    ):
        verdict = "the same" if stored == rebuilt else f"DIFFERENT: {rebuilt}"
        print(f"{what:<8} {stored}  {verdict}")
    for remark in found.remarks:
        print(f"note: {remark}")
    if not found.same_weights:
        _fail(f"{model} version {version} ({found.model}) does not come out the same")
    print(f"{model} version {version} ({found.model}) was trained anew from its data: the same weights, bit for bit.")


def lineage(
    forecast: Annotated[str, typer.Argument(metavar="FORECAST", help="Id of a forecast, as the API shows it.")],
    format: Annotated[
        Literal["text", "json", "html"], typer.Option("--format", help="text, json, or html: one page, to be saved.")
    ] = "text",
) -> None:
    """Follow a forecast back to the raw rows, verifying each link; fails where one is broken, and says which."""
    import json

    from lake.evidence import UnknownForecastError, find_forecast, trace
    from lake.evidence_page import html_page, text_page

    settings = _prepared()
    lake, registry = Lake.from_settings(settings), _registry(settings)
    try:
        made_by = find_forecast(lake, forecast)
    except UnknownForecastError as error:
        _fail(str(error.args[0]))
    version = registry.registered(made_by["model"], made_by["version"])
    evidence = trace(lake, forecast, version, registry.load(version.name, version.version).onnx if version else None)
    if format == "json":
        print(json.dumps(evidence, indent=2))
    else:
        print(html_page(evidence) if format == "html" else "\n".join(text_page(evidence)))
    if evidence["broken"]:
        raise typer.Exit(1)


def _settle(settings: Settings, registry: "Registry", model: str) -> None:
    """Tell the audit, and Dagster, whose automation then forecasts with the new champion."""
    from ml.audit import settle

    settle(Lake.from_settings(settings), registry, datetime.now(UTC))
    _announce(model)


def _announce(model: str) -> None:
    """Tell Dagster that other versions of a model forecast."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(["models", f"{model}_champion"]))


def _registry(settings: Settings) -> "Registry":
    from ml.registry import Registry

    return Registry(settings)


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _prepared() -> Settings:
    settings = get_settings()
    try:
        prepare(settings)
    except HomeError as error:
        _fail(str(error))
    return settings


def _fail(message: str) -> None:
    print(f"lakehouse: {message}", file=sys.stderr)
    raise typer.Exit(1)

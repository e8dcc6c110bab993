"""The evidence of a forecast; what it needs is imported when it is asked for, as it rarely is."""

from contextlib import suppress
from dataclasses import fields
from typing import Any

from lake.settings import Settings
from serving.registry import RegistryError
from serving.state import ServingState


def trace(id: str, settings: Settings, state: ServingState) -> dict[str, Any] | None:
    """The chain behind a forecast, see :func:`lake.evidence.trace`; None where no forecast has this id."""
    from lake import evidence
    from lake.store import Lake

    lake = Lake.from_settings(settings)
    try:
        forecast = evidence.find_forecast(lake, id)
    except evidence.UnknownForecastError:
        return None
    registered, onnx = None, None
    with suppress(RegistryError):  # the chain says what could not be verified
        found = state.registry.version(forecast["model"], forecast["version"])
        if found is not None:
            names = [field.name for field in fields(evidence.RegisteredVersion)]
            registered = evidence.RegisteredVersion(**{name: getattr(found, name) for name in names})
            onnx = state.vault.file(found)
    return evidence.trace(lake, id, registered, onnx)

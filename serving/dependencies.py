"""What routes ask for: the served state, a snapshot of it, the settings, the path that the app is mounted under."""

from typing import Annotated

from fastapi import Depends, Request

from lake.settings import Settings
from serving import problems
from serving.snapshot import Snapshot
from serving.state import ServingState


async def _state(request: Request) -> ServingState:
    state: ServingState = request.app.state.serving
    return state


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _base(request: Request) -> str:
    return str(request.scope.get("root_path", ""))


StateDep = Annotated[ServingState, Depends(_state)]
SettingsDep = Annotated[Settings, Depends(_settings)]
BaseDep = Annotated[str, Depends(_base)]
"""Path that the app is mounted under; empty at the root."""


async def _snapshot(state: StateDep) -> Snapshot:
    snapshot = state.snapshot
    if snapshot is None or not snapshot.predictions:
        raise problems.not_ready(state.reasons())
    return snapshot


SnapshotDep = Annotated[Snapshot, Depends(_snapshot)]
"""The state that one answer is made from; 503 while there is none."""

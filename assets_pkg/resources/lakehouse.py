"""The lake and the settings, as assets see them."""

import dagster as dg
from pydantic import PrivateAttr

from lake.settings import Settings, get_settings
from lake.store import Lake


class LakehouseResource(dg.ConfigurableResource[None]):
    """Settings and lake of the environment of the process that runs the asset."""

    _run_id: str | None = PrivateAttr(None)

    @property
    def settings(self) -> Settings:
        """The settings, read anew."""
        return get_settings()

    @property
    def lake(self) -> Lake:
        """The lake that the settings point at; its commits name the Dagster run."""
        lake = Lake.from_settings(self.settings)
        if self._run_id:
            lake.made_by["dagster_run_id"] = self._run_id
        return lake

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the run that is about to use the lake."""
        self._run_id = context.run.run_id if context.run else None

"""The lake and the settings, as assets see them."""

import dagster as dg

from lake.settings import Settings, get_settings
from lake.store import Lake


class LakehouseResource(dg.ConfigurableResource[None]):
    """Settings and lake of the environment of the process that runs the asset."""

    @property
    def settings(self) -> Settings:
        """The settings, read anew."""
        return get_settings()

    @property
    def lake(self) -> Lake:
        """The lake that the settings point at."""
        return Lake.from_settings(self.settings)

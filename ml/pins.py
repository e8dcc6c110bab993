"""Pinned versions: what registered models and stored forecasts were made from, and must stay readable for ever."""

import json
from collections import defaultdict
from collections.abc import Mapping

from lake.store import Lake
from ml.forecasting import PREDICTIONS
from ml.registry import Registry


def pinned_versions(lake: Lake, registry: Registry) -> Mapping[str, set[int]]:
    """Versions by lake table, none for most.

    A version that leaves the registry gives its pin back, but for the forecasts that it has made.
    """
    pins: defaultdict[str, set[int]] = defaultdict(set)
    made_from = registry.lake_versions()
    if lake.exists(PREDICTIONS):
        forecasts = lake.read(PREDICTIONS, ["lake_versions"])["lake_versions"].unique().to_pylist()
        made_from += [json.loads(versions) for versions in forecasts]
    for versions in made_from:
        for table, version in versions.items():
            pins[table].add(version)
    return pins

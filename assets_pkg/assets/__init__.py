"""Assets, one file a group, in the order of the graph: raw, market, models, forecasts, monitoring, catalog, upkeep."""

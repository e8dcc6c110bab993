"""The API: newest forecasts, models and reports over HTTP. Reads the lake and the registry, writes neither."""

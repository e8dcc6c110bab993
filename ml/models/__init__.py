"""models: one file a forecaster, baselines beside them, all behind the interface in `base`."""

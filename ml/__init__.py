"""ml: features in, judged and registered forecasts out. Knows the lake, not the orchestrator."""

"""Watching: drift, notifications and the reports a person reads. Plain functions; nothing here knows Dagster."""

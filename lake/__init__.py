"""Ground floor: settings, Delta tables, sources of bars and their ingestion. Imports nothing of ours above it."""

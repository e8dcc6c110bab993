"""The roof: the Dagster code location. It declares the lineage graph and calls down; it holds no logic of its own."""

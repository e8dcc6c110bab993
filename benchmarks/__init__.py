"""Measurements of what the project promises; `make bench` runs them, and no test depends on them."""

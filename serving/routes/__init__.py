"""Routes, one file a group of them; `create_app` includes the router of each."""

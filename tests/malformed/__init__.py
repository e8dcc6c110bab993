"""Files as they should not be, each with what must happen to it."""

"""Resources: what assets need from the outside, each behind one small class."""

"""Faults that the tests must see, and a runner that applies each to a copy of the tree."""

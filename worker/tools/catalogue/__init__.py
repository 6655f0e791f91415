"""`catalogue load`, `diff`, `export` and `check`."""

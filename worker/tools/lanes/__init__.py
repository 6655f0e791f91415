"""`lanes`, `lanes recover` and `lanes reset`."""

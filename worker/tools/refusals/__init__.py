"""`refusals`: the newest refusals, read from the ends of the result topics."""

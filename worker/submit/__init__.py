"""A file of rows becomes commands, and each row gets its answer: `passport-worker submit`. Pure but for `run`."""

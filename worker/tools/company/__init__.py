"""`company export` and `company close`: a company takes its data, and leaves."""

"""`company export` and `company close`: exports the data of a company, and closes it."""

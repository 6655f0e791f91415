"""`audit`: checks that each command has exactly one result, with the bytes of the ledger."""

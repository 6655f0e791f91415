"""`dead-letters list`, `show` and `redrive`."""

"""Finds out who sent a command: key sets of OAuth issuers, access tokens, public keys and signatures."""

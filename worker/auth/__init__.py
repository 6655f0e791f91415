"""Tells whose a command is: key sets of OAuth issuers, access tokens, public keys and signatures."""

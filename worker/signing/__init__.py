"""Signatures of single commands: public keys (JWK), verifying, and signing."""

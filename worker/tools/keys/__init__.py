"""`keys`: API keys and signing keys of companies."""

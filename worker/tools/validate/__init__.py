"""`validate`: checks commands in a file as the worker would."""

"""The catalogue file: its models, its syntax and its rows."""

"""The catalogue file: its models, its syntax, and the rows that it stands for."""

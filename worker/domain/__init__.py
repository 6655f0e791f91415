"""The rules of a passport: pure values and decisions, no input or output."""

"""The rules of a passport: values and decisions, without input or output."""

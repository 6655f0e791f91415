"""The contract for machines, written from the code that keeps it: JSON Schemas and an AsyncAPI document."""

"""Hundreds of thousands of commands under random faults: nothing is lost, doubled or out of order."""

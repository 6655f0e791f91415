"""Listeners of the line: metrics, spans and logs. They receive its events and return nothing. Also `health`."""

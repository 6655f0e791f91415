"""Listeners of the line: metrics, spans, logs. The line tells them its events and asks them nothing. And `health`."""

"""What watches: metrics, spans, logs and health. The line tells it what happens, and never asks it."""

"""The tools beside the worker: operators' verbs, `submit`, sandbox, demo, console, and what generates `schemas/`."""

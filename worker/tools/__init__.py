"""The tools: operators' verbs, `submit`, sandbox, demo, console, and the generator of `schemas/`."""

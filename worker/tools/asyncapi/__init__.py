"""`python -m worker.tools.asyncapi`: writes `schemas/` from the code."""

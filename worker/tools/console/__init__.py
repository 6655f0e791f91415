"""`console`: read-only pages for operators."""

"""How commands and results look on the wire: bytes in, values out, and back."""

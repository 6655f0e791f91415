"""Amounts of money for people. Plans, events and reports hold them in cents, the smallest unit of the currency."""

# Currencies of ISO 4217 whose smallest unit is not a hundredth.
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"


def money(cents: int, currency: str) -> str:
    """An amount with its currency (`PASSPORT_CURRENCY`), such as `1,234.50 EUR`."""
    decimals = 0 if currency in _WHOLE else 3 if currency in _THOUSANDTHS else 2
    whole, rest = divmod(abs(cents), 10**decimals)
    fraction = f".{rest:0{decimals}}" if decimals else ""
    return f"{'-' if cents < 0 else ''}{whole:,}{fraction} {currency}"

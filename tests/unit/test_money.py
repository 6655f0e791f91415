"""Amounts for people name their currency, and count as many decimals as it has."""

import pytest

from worker.tools.common.money import money


@pytest.mark.parametrize(
    ("cents", "currency", "text"),
    [
        (0, "EUR", "0.00 EUR"),
        (75, "EUR", "0.75 EUR"),
        (4_000_000_150, "USD", "40,000,001.50 USD"),
        (-5, "CHF", "-0.05 CHF"),
        (1_234, "JPY", "1,234 JPY"),
        (1_234, "KWD", "1.234 KWD"),
    ],
)
def test_an_amount_names_its_currency(cents: int, currency: str, text: str) -> None:
    """Cents are the currency's smallest unit."""
    assert money(cents, currency) == text

"""The data inventory is what its descriptions say."""

from tests.inventory.data import TABLES
from tests.inventory.page import PAGE, page, readers_of


def test_the_committed_page_is_up_to_date() -> None:
    """`python -m tests.inventory` makes it anew. A topic without a description fails here, too."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_readers_are_taken_from_the_grants() -> None:
    """Readers see no hash of an API key, and every table has somebody who reads it."""
    assert readers_of("api_key") == "worker, reader (only `company_id`, `label`, `revoked_at`)"
    assert all(map(readers_of, TABLES))

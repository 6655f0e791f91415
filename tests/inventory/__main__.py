"""`python -m tests.inventory`: write the page."""

from tests.inventory.page import PAGE, page

PAGE.write_text(page(), encoding="utf-8")

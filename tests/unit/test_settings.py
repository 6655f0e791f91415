"""What settings say of themselves, and what they keep to themselves."""

import pytest

from worker.settings import database_place

HIDDEN = "an address that cannot be shown without its password"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://localhost/passports", "localhost/passports"),
        ("postgresql://worker:hunter2@db.example.com:5432/passports", "db.example.com:5432/passports"),
        ("postgresql://worker:hunter2@a:1,b:2/x?target_session_attrs=any&password=hunter2", "a:1,b:2/x"),
        ("postgres://worker@[::1]:5432/x", "[::1]:5432/x"),
        ("postgresql:///x?host=/run", "/x"),
        ("postgresql://worker:hunter2", HIDDEN),
        ("postgresql://worker:hun/ter2@db/x", HIDDEN),
        ("postgresql://worker:hun#ter2@db/x", HIDDEN),
        ("postgresql://worker:hun?ter2@db/x", HIDDEN),
        ("postgresql://worker:123?ter2@db/x", HIDDEN),
        ("postgresql://worker:hun@ter2@db/x", HIDDEN),
        ("postgresql://worker:hunter2@:badport/x", HIDDEN),
        ("postgresql://" + "a" * 5_000 + "@a@", HIDDEN),
    ],
)
def test_a_database_is_shown_by_its_place_alone(url: str, place: str) -> None:
    """Where the password may begin elsewhere than it seems, nothing is shown."""
    assert database_place(url) == place
    assert "hun" not in place

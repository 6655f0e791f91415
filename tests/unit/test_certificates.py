"""When certificates end, as the files say it that the settings name."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from worker.observability.certificates import expiries
from worker.settings import Settings

NOW = datetime(2026, 5, 9, tzinfo=UTC)
_VERSION_3 = b"\xa0\x03\x02\x01\x02"
"""As X.509 encodes it."""


def _certificate(days: int) -> bytes:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=days))
    )
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _in_days(days: int) -> float:
    return (NOW + timedelta(days=days)).timestamp()


def test_a_chain_ends_with_its_first_certificate_and_a_bundle_with_its_last(tmp_path: Path) -> None:
    """An authority that is being replaced is no reason for an alert; an intermediate that ends is."""
    chain, bundle = tmp_path / "chain.pem", tmp_path / "bundle.pem"
    chain.write_bytes(_certificate(90) + _certificate(30))
    bundle.write_bytes(_certificate(10) + _certificate(400))
    settings = Settings(kafka_ssl_certfile=str(chain), kafka_ssl_cafile=str(bundle))
    assert dict(expiries(settings)) == {"client": _in_days(30), "ca": _in_days(400)}


def test_those_of_the_database_are_named_by_its_url_or_by_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter of the URL wins, as for the driver; the URL may be in a file."""
    for days in (10, 20, 30):
        (tmp_path / f"{days}.pem").write_bytes(_certificate(days) + _certificate(days + 1))
    monkeypatch.setenv("PGSSLCERT", str(tmp_path / "10.pem"))
    monkeypatch.setenv("PGSSLROOTCERT", str(tmp_path / "20.pem"))
    assert dict(expiries(Settings())) == {"database-client": _in_days(10), "database-ca": _in_days(21)}
    url = tmp_path / "url"
    url.write_text(f"postgresql://w@db/p?sslmode=verify-full&sslrootcert={tmp_path}/30.pem")
    settings = Settings(database_url_file=str(url))
    assert dict(expiries(settings)) == {"database-client": _in_days(10), "database-ca": _in_days(31)}
    url.unlink()
    assert dict(expiries(settings)) == {}


def _of_an_unknown_version() -> bytes:
    der = ssl.PEM_cert_to_DER_cert(_certificate(30).decode())
    assert der.count(_VERSION_3) == 1
    return ssl.DER_cert_to_PEM_cert(der.replace(_VERSION_3, b"\xa0\x03\x02\x01\x07")).encode()


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", _of_an_unknown_version()], ids=["empty", "text", "version"]
)
def test_what_is_no_certificate_is_left_out(tmp_path: Path, content: bytes) -> None:
    """The connection fails by itself, and says more."""
    (tmp_path / "ca.pem").write_bytes(content)
    assert dict(expiries(Settings(kafka_ssl_cafile=str(tmp_path / "ca.pem")))) == {}


def test_without_certificates_there_is_nothing_to_say() -> None:
    """Plaintext is the default."""
    assert dict(expiries(Settings())) == {}

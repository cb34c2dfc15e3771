"""Certificates made for one run: a CA, and server certificates right or wrong in one way."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VARIANTS = ("valid", "expired", "wrong_name", "unknown_ca")
_DAY = dt.timedelta(days=1)


class Certificates(NamedTuple):
    """PEM texts: the CA a client is told to trust, and what the server presents."""

    ca: bytes
    chain: bytes
    key: bytes


class _Authority(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make(variant: str) -> Certificates:
    """Certificates of one of VARIANTS; a few milliseconds, elliptic curves."""
    if variant not in VARIANTS:
        raise ValueError(f"no such certificate: {variant}")
    trusted = _authority("Test Engine CA")
    signer = _authority("Somebody Else's CA") if variant == "unknown_ca" else trusted
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = _server(signer, key, variant)
    return Certificates(
        _pem(trusted.certificate),
        _pem(leaf) + _pem(signer.certificate),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _authority(name: str) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.timezone.utc)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Authority(key, certificate)


def _server(signer: _Authority, key: ec.EllipticCurvePrivateKey, variant: str) -> x509.Certificate:
    now = dt.datetime.now(dt.timezone.utc)
    ends = now - _DAY if variant == "expired" else now + 7 * _DAY
    names: list[x509.GeneralName] = [x509.DNSName("elsewhere.example.test")]
    if variant != "wrong_name":
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(_name("engine"))
        .issuer_name(signer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 7 * _DAY)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(issuer, critical=False)
        .sign(signer.key, hashes.SHA256())
    )

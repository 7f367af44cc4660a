"""Public-key signatures, over `cryptography`; a key or signature that cannot be read is wrong."""

from base64 import b64decode
from binascii import Error as Base64Error

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificate


def ecdsa_sha256(key: str, signature: bytes, signed: bytes) -> bool:
    """Whether an ECDSA key (base64 of DER) signed the SHA-256 of these bytes (DER signature)."""
    try:
        public = load_der_public_key(b64decode(key, validate=True))
        if not isinstance(public, ec.EllipticCurvePublicKey):
            return False
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, Base64Error, ValueError):
        return False
    return True


def rsa_pkcs1(certificate: bytes, signature: str, signed: bytes, *, version: str) -> bool:
    """Whether a certificate's RSA key signed these bytes: SNS version 1 is SHA-1, 2 SHA-256."""
    kinds: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303
    if version not in kinds:
        return False
    try:
        public = load_pem_x509_certificate(certificate).public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            return False
        raw = b64decode(signature, validate=True)
        public.verify(raw, signed, padding.PKCS1v15(), kinds[version])
    except (InvalidSignature, UnsupportedAlgorithm, Base64Error, ValueError):
        return False
    return True

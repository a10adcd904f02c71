"""Passwords: hashed with Argon2id (RFC 9106), compared in a time that tells nothing."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from oncopixel_pacs.errors import ConfigurationError

#: NIST SP 800-63B section 3.1.1.2 for a password that is the only factor.
LEAST_LENGTH = 15
MOST_LENGTH = 256
_HASHER = PasswordHasher()


def hash_password(password: str) -> str:
    """Hash a new password, in PHC format.

    Raises
    ------
    ConfigurationError
        When it is too short or too long.
    """
    if not LEAST_LENGTH <= len(password) <= MOST_LENGTH:
        raise ConfigurationError(
            f"A password has {LEAST_LENGTH} to {MOST_LENGTH} characters; a few words will do."
        )
    return _HASHER.hash(password)


def is_password(given: str, password_hash: str | None) -> bool:
    """Whether it is the password; as slow for a user that does not exist (no hash)."""
    try:
        return _HASHER.verify(password_hash or _of_nobody(), given) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _of_nobody() -> str:
    """Hash to compare with when there is no such user, so that both take as long."""
    return _HASHER.hash("the password of nobody")

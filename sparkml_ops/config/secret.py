"""References to secrets: the value is looked up where it is used and never stored or printed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlparse

from sparkml_ops.errors import ConfigurationError

__all__ = ["hide_passwords", "holds_password", "reveal"]

_PASSWORD = re.compile(r"(://[^/@:\s]+:)[^/@\s]+(@)")


def reveal(value: str) -> str:
    """The value behind `secret://env/NAME` or `secret://file/PATH`; other text is returned as it is.

    Raises:
        ConfigurationError: The environment variable or file is not there.

    >>> reveal("sqlite:///x.db")
    'sqlite:///x.db'
    """
    url = urlparse(value)
    if url.scheme != "secret":
        return value
    if url.netloc == "env":
        name = url.path.removeprefix("/")
        if found := os.environ.get(name):
            return found
        raise ConfigurationError(f"{value}, but no environment variable {name}", mend=f"set {name}")
    if url.netloc == "file":
        try:
            return Path(url.path).read_text().strip()
        except OSError as error:
            raise ConfigurationError(f"{value}, which cannot be read ({error.strerror})", mend="mount the secret") from None
    raise ConfigurationError(f"the secret {value!r}", expected="secret://env/NAME or secret://file/PATH", mend="correct the reference")


def holds_password(text: str) -> bool:
    """Whether an address in the text carries a password.

    >>> holds_password("postgresql://me:secret@db/x"), holds_password("sqlite:////x.db")
    (True, False)
    """
    return _PASSWORD.search(text) is not None


def hide_passwords(text: str) -> str:
    """The text with the passwords of its addresses replaced.

    >>> hide_passwords("postgresql://me:secret@db/x")
    'postgresql://me:***@db/x'
    """
    return _PASSWORD.sub(r"\1***\2", text)

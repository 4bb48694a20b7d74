"""A second environment, made from the wheel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Installed"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installed:
    """An environment that has the project's wheel, and a home and a working folder far from the checkout.

    Args:
        prefix: Folder of the environment.
        home: Its user's home, empty.
    """

    prefix: Path
    home: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.prefix / "bin" / "python")

    @property
    def packages(self) -> Path:
        """Where its packages lie."""
        return next((self.prefix / "lib").glob("python*/site-packages"))

    @property
    def environment(self) -> dict[str, str]:
        """All environment variables of a process there."""
        java = {name: os.environ[name] for name in ("JAVA_HOME", "JAVA_TOOL_OPTIONS") if name in os.environ}
        return {**java, "PATH": f"{self.prefix / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(self.home)}

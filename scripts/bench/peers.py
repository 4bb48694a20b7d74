"""Other systems that a benchmark runs beside ours, installed into a folder of the user's cache, never into the environment."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["add"]


def add(alone: tuple[str, ...], whole: tuple[str, ...] = ()) -> bool:
    """Make pinned packages importable, and say whether that worked: a peer that did not run is an open item.

    Args:
        alone: Packages without what they need, since that is in our environment in our versions.
        whole: Packages with all that they need.
    """
    key = hashlib.sha256(repr((alone, whole, sys.version_info[:2])).encode()).hexdigest()[:12]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparkml-ops" / "peers" / key
    install = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder)]
    try:
        if not (folder / "complete").exists():
            for packages, options in ((whole, ()), (alone, ("--no-deps",))):
                if packages:
                    subprocess.run([*install, *options, *packages], check=True)
            (folder / "complete").touch()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no peer {', '.join(alone)}: {error}", file=sys.stderr)
        return False
    sys.path.append(str(folder))  # last: what both have comes from our environment
    return True

"""What a result was made with: packages, this code, Python, Java, Spark, processor and GPUs.

Two results that should be equal and are not are first compared in these.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import feature_store

__all__ = ["differences", "environment", "hardware", "java_version"]

_OURS = (Path(__file__).parent, Path(feature_store.__file__).parent)


def environment(spark: str | None = None) -> dict[str, Any]:
    """What this process runs on, as plain JSON types.

    Args:
        spark: The session's version.

    >>> sorted(environment("4.2.0"))
    ['code', 'code_digest', 'hardware', 'java', 'packages', 'python', 'spark', 'system']
    """
    return {
        "code": metadata.version("sparkml-ops"),
        "code_digest": _code_digest(),
        "hardware": hardware(),
        "java": java_version(),
        "packages": {name: version for name, version in sorted(_packages().items()) if name != "sparkml-ops"},
        "python": platform.python_version(),
        "spark": spark,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def hardware() -> dict[str, Any]:
    """Processor, its cores, and the GPUs that torch sees."""
    import torch  # seconds: only where a training runs

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {"processor": _processor(), "instructions": torch.backends.cpu.get_cpu_capability(), "cores": os.cpu_count(), "gpus": gpus}


def java_version() -> str | None:
    """Version of the Java that JAVA_HOME or the path names, `17.0.15`; None without one."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not java or not Path(java).exists():
        return None
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60).stderr
    found = re.search(r'version "([^"]+)"', told)
    return found.group(1) if found else "an unknown version"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not the same, by dotted name; None for what one of them lacks.

    >>> differences({"python": "3.11.7", "packages": {"numpy": "2.4.1"}}, {"python": "3.11.7", "packages": {"numpy": "2.4.2"}})
    {'packages.numpy': ('2.4.1', '2.4.2')}
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted(then.keys() | now.keys()):
        left, right = then.get(name), now.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found |= {f"{name}.{inner}": pair for inner, pair in differences(left, right).items()}
        elif left != right:
            found[name] = (left, right)
    return found


@cache
def _packages() -> dict[str, str]:
    return {each.metadata["Name"].lower().replace("_", "-"): each.version for each in metadata.distributions() if each.metadata["Name"]}


@cache
def _code_digest() -> str:
    """Of the source files, so that a checkout between two versions is told from both; 16 hexadecimal digits."""
    total = hashlib.sha256()
    for root in _OURS:
        for path in sorted(root.rglob("*.py")):
            total.update(f"{root.name}/{path.relative_to(root).as_posix()}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def _processor() -> str:
    listing = Path("/proc/cpuinfo")  # platform.processor() is empty on most Linux machines
    names = re.findall(r"^model name\s*:\s*(.+)$", listing.read_text(), re.MULTILINE) if listing.exists() else []
    return names[0] if names else platform.processor() or platform.machine()

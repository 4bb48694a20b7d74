"""Profiles beside Spark's own sketches (see profiles.py); prints Markdown for docs/benchmarks.md.

The standard library has a module of this file's name, which PySpark asks for: as a script this file stands back, and whoever imports it gets the other one.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(sys.path.pop(0))
    from profiles import main

    raise SystemExit(main())

spec = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib")) / "profile.py")
assert spec is not None and spec.loader is not None  # noqa: PT018 - the standard library is there
sys.modules[__name__] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[__name__])

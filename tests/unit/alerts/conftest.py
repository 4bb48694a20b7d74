"""Projects with policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from watched_project import POLICIES, Watched


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """The tiny project under five policies."""
    return Watched(tmp_path / "p", f"alerts.policies={json.dumps(POLICIES)}")

"""Pages as headless Chromium lays them out, on a phone and on a desk."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

__all__ = ["WIDTHS", "in_browser", "laid_out"]

_BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable") if (found := shutil.which(name))), None)
in_browser = pytest.mark.skipif(_BROWSER is None, reason="no Chromium on this machine: none of chromium, chromium-browser, google-chrome is in PATH")
# The browser's window is never narrower than 500 px, so the page lies in frames of a phone's and a desk's width.
WIDTHS = (390, 1200)
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")


def laid_out(page: str, measure: str, folder: Path, *options: str) -> dict[int, dict[str, Any]]:
    """What a script finds in the page, by width.

    Args:
        page: HTML.
        measure: Elements for the end of the page around the frames: a script that writes a JSON list, one entry a frame, into `#result`.
        folder: Scratch.
        options: Further ones of the browser.
    """
    frames = "".join(f'<iframe srcdoc="{html.escape(page)}" style="border:0;width:{width}px;height:900px"></iframe>' for width in WIDTHS)
    wrapper = folder / "wrapper.html"
    wrapper.write_text(f'<!doctype html><meta charset="utf-8">{frames}{measure}', encoding="utf-8")
    assert _BROWSER is not None
    command = [_BROWSER, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", *options, "--dump-dom", wrapper.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return dict(zip(WIDTHS, json.loads(html.unescape(found[1])), strict=True))

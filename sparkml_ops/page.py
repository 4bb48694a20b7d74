"""Records that can be drawn as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

__all__ = ["Drawn", "template"]


class Drawn:
    """A record with a page."""

    @abstractmethod
    def html(self) -> str:
        """The record as one page that needs nothing else."""

    def _repr_html_(self) -> str:
        """What a notebook shows: the page in a frame of its own, so that its style stays there."""
        return f'<iframe srcdoc="{escape(self.html())}" style="width:100%;height:40rem;border:0" title="{type(self).__name__}"></iframe>'

    def to_html(self, path: str | Path) -> Path:
        """Write the page to a file and return where."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.html(), encoding="utf-8")
        return target


def template(text: str, **filters: Callable[..., Any]) -> Template:
    """A page's template: every value is escaped, and one that is missing is an error.

    >>> template("{{ name|loud }}", loud=str.upper).render(name="<a>")
    '&lt;A&gt;'
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= filters
    return environment.from_string(text)

"""What every part of a project's YAML has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Declaration"]


class Declaration(BaseModel):
    """A closed, frozen part of a project's YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

"""Options of models beside the champion: a canary, whose predictions some entities get, and shadows, whose predictions nobody acts on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from feature_store.declaration import Duration
from sparkml_ops.config.section import Section

__all__ = ["CHAMPION_SLOT", "CanarySection", "RolloutSection"]

CHAMPION_SLOT = "champion"
# A number is one in YAML.
Which = Annotated[str, BeforeValidator(str), Field(pattern=r"^[A-Za-z0-9_-]+$")]


class CanarySection(Section):
    """`rollout.canary`: a share of the entities gets the predictions of another version; an A/B test where it is half."""

    version: Which = Field(default="newest", description="`newest` registered one, a number, or an alias")
    entity: tuple[str, ...] = Field(min_length=1, description="columns of the scoring set that name who is dealt; all rows of one share its arm")
    salt: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="another one deals the entities anew")
    share: float = Field(gt=0, lt=1, description="of the entities in the arm; a greater share keeps those who were there")
    slot: str = Field(default="canary", pattern=r"^[A-Za-z0-9_-]+$", description="name of the arm, and slot of its predictions")

    @field_validator("slot")
    @classmethod
    def _own_slot(cls, slot: str) -> str:
        if slot == CHAMPION_SLOT:
            raise ValueError("the slot `champion`: its rows are what stands where the canary fails")
        return slot


class RolloutSection(Section):
    """`rollout`: which other versions score a window when the champion has."""

    shadows: dict[str, Which] = Field(
        default_factory=dict,
        description="slot to version: `newest` registered one, a number, or an alias. It is scored after the champion's rows are committed; "
        "whatever becomes of it is logged and changes nothing else",
    )
    timeout: Duration | None = Field(default="1h", description="time after which the pass of a shadow or the canary is ended; null: never")

    canary: CanarySection | None = Field(default=None, description="a share of the entities for another version; null: none")

    most_missing: float = Field(
        default=0.0, ge=0, le=1, description="share of the rows that have a prediction now which a newly published table may lack; 0 to 1"
    )

    @field_validator("shadows")
    @classmethod
    def _own_slots(cls, shadows: dict[str, str]) -> dict[str, str]:
        for slot in shadows:
            if slot == CHAMPION_SLOT:
                raise ValueError("a shadow in the slot `champion`: give it one of its own")
            if not slot.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"the slot `{slot}`: letters, digits, - and _ only")
        return shadows

    @model_validator(mode="after")
    def _slots_apart(self) -> Self:
        if self.canary is not None and self.canary.slot in self.shadows:
            raise ValueError(f"the slot `{self.canary.slot}` for the canary and for a shadow: give each one of its own")
        return self

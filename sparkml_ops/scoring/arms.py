"""Arms of a canary or an A/B test: entities are dealt by a salted hash, so that each keeps its arm while its share grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, DateType, DoubleType, IntegralType, StringType, StructField, StructType

from feature_store.delta import Tables
from feature_store.names import quote
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring.matching import nearest
from sparkml_ops.scoring.scoring_set import WINDOW
from sparkml_ops.scoring.target import SLOT, landed, predictions

__all__ = ["ARMS", "ARM_FIELDS", "Arms", "recorded", "served"]

ARM, PROPENSITY, SALT, ARMS = "arm", "propensity", "salt", "arms"
ARM_FIELDS = (StructField(ARM, StringType()), StructField(PROPENSITY, DoubleType()), StructField(SALT, StringType()))
# Whose text is the same in every session.
_ENTITIES = (IntegralType, StringType, BooleanType, DateType)
_DIGITS = 13  # 52 bits, which a double holds


@dataclass(frozen=True)
class Arms:
    """Who is in which of two arms.

    Args:
        slot: The arm whose predictions another model makes, and the slot of these.
        entity: Columns of the scoring set that name who is dealt; all rows of one entity share its arm.
        salt: Another one deals anew.
        share: Of the entities in that arm, above 0 and below 1. A greater share keeps those who were there.
        control: The other arm, and its slot.
    """

    slot: str
    entity: tuple[str, ...]
    salt: str
    share: float
    control: str = "champion"

    def check(self, schema: StructType, where: str) -> None:
        """Refuse entity columns that are not there or whose text depends on the session.

        Raises:
            ContractError: Naming the column and what to do.
        """
        types = {field.name: field.dataType for field in schema.fields}
        if taken := [field.name for field in ARM_FIELDS if field.name in types]:
            raise ContractError(
                f"{', '.join(taken)} among the columns of {where}", expected="names that are free for the arms of rollout.canary", mend="rename them"
            )
        for name in self.entity:
            if name not in types:
                raise ContractError(
                    f"the entity column `{name}`, which is not in {where}{nearest(name, types)}",
                    expected="a column of the scoring set",
                    mend="name it among training_set.columns or a lookup's keys, or correct rollout.canary.entity",
                )
            if not isinstance(types[name], _ENTITIES):
                raise ContractError(
                    f"the entity column `{name}` of type {types[name].simpleString()}",
                    expected="text, whole numbers, dates or booleans",
                    mend="choose another column in rollout.canary.entity",
                )

    def place(self) -> Column:
        """Where an entity lies between 0 and 1: the first 52 bits of SHA-256 over the salt and its columns; null where one of these is.

        A hash of its own, not Spark's: anybody can repeat it in any language.
        """
        text = F.concat_ws("\x1f", F.lit(self.salt), *(F.col(quote(name)).cast("string") for name in self.entity))
        bits = F.conv(F.substring(F.sha2(text, 256), 1, _DIGITS), 16, 10).cast("double") / F.lit(float(16**_DIGITS))
        known = reduce(Column.__and__, [F.col(quote(name)).isNotNull() for name in self.entity])
        return F.when(known, bits)

    def mark(self, rows: DataFrame) -> DataFrame:
        """Rows with their arm, the probability with which they came into it, and the salt; an unknown entity is in the control arm for sure."""
        place = self.place()
        chosen = F.coalesce(place < F.lit(self.share), F.lit(False))
        chance = F.when(place.isNull(), F.lit(1.0)).when(chosen, F.lit(self.share)).otherwise(F.lit(1.0 - self.share))
        arm = F.when(chosen, F.lit(self.slot)).otherwise(F.lit(self.control))
        return rows.withColumns({ARM: arm, PROPENSITY: chance, SALT: F.lit(self.salt)})

    def of_slot(self, rows: DataFrame, slot: str) -> DataFrame:
        """The marked rows that a slot scores: the control's model all of them, which is what stands where the other one fails."""
        return rows if slot == self.control else rows.where(F.col(ARM) == F.lit(slot))


def recorded(tables: Tables, target: str, *, window: str, slot: str, generation: int) -> Arms | None:
    """The arms to which the rows of a scored window were dealt, as its commit says; None where they were not."""
    commit = landed(tables, target, window=window, slot=slot, generation=generation)
    found = None if commit is None else commit.details.get(ARMS)
    return None if found is None else Arms(**{**found, "entity": tuple(found["entity"])})


def served(tables: Tables, target: str, row_key: Sequence[str], *, window: str | None = None, control: str = "champion") -> DataFrame:
    """The predictions to act on, one a row: that of its arm where there is one, the control's otherwise.

    Args:
        row_key: Columns that identify a row.
        window: Only of this window.

    Raises:
        TableNotFound: Nothing has been scored yet.
    """
    rows = predictions(tables, target, window=window)
    mine = rows.where(F.col(SLOT) == F.lit(control))
    if ARM not in rows.columns:
        return mine
    other = rows.where((F.col(SLOT) != F.lit(control)) & (F.col(ARM) == F.col(SLOT)))
    return mine.join(other.select(*(F.col(quote(name)) for name in (*row_key, WINDOW))), on=[*row_key, WINDOW], how="left_anti").unionByName(other)

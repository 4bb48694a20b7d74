"""Seeded frames with all that breaks joins and windows: ties, late and corrected rows, nulls, skew, composite keys.

Times lie on a coarse grid with a microsecond to either side, so that window edges and equal times are hit often; or
around instants of your choice, such as those at which a zone's clocks change:

>>> [f"{instant:%m-%d %H:%M}" for instant in clock_changes("America/New_York", 2024)]
['03-10 07:00', '11-03 06:00']
>>> around = clock_changes("America/New_York", 2024)
>>> sorted({f"{moment:%m-%d}" for moment in spine_rows(seed=1, nulls=0, around=around)["at"]})
['03-09', '03-10', '03-11', '11-02', '11-03', '11-04']
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from feature_store.oracles import records

__all__ = ["EVENTS", "SPINE", "clock_changes", "event_rows", "spine_rows", "to_spark"]

#: Spark schemas of the two frames.
EVENTS = "customer string, shop string, happened timestamp, known timestamp, number int, row string, amount double, items int, price decimal(9,2), city string"
SPINE = "customer string, shop string, at timestamp, label int"

START = datetime(2024, 3, 1, tzinfo=UTC)
# Glued together without a separator, ("1", "12") and ("11", "2") would be one entity.
_ENTITIES = (("1", "12"), ("11", "2"), ("a", "b"), ("é", "b"), ("", "x"))
# Hours from an instant: where clocks change, one is twice or missing, and the days before and after are 24 hours of another name.
_NEAR = (-24, -1, -0.5, 0, 0, 0.5, 1, 24)


def event_rows(
    seed: int,
    rows: int = 60,
    *,
    hours: int = 96,
    ties: float = 0.3,
    late: float = 0.4,
    nulls: float = 0.08,
    corrections: float = 0.2,
    skew: float = 0.4,
    around: Sequence[datetime] = (),
) -> pd.DataFrame:
    """Feature rows or events: customer, shop, happened, known, number, row, amount, items, price, city.

    Args:
        seed: Equal seeds give equal frames.
        rows: Number of rows.
        hours: Length of the time that they cover.
        ties: Share that takes the key and times of an earlier row.
        late: Share that became known hours or days after it happened.
        nulls: Share of nulls in every column, and of NaN in `amount`.
        corrections: Share that is a later version of an earlier `row`, at times with other keys or times.
        skew: Share of rows of the first entity.
        around: Instants within a day of which all rows happen, as `clock_changes` gives them; `hours` has no part then.
    """
    rng = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    for index in range(rows):
        customer, shop = _entity(rng, skew)
        happened = _moment(rng, hours, around)
        delay = timedelta(hours=int(rng.integers(1, 60))) if rng.random() < late else timedelta(0)
        row = {
            "customer": customer,
            "shop": shop,
            "happened": happened,
            "known": happened + delay,
            "number": int(rng.integers(0, 3)),
            "row": f"r{index}",
        }
        earlier = made[int(rng.integers(len(made)))] if made else None
        if earlier and rng.random() < ties:
            row |= {name: earlier[name] for name in ("customer", "shop", "happened", "known")}
        if earlier and rng.random() < corrections:
            kept = ("row", "customer", "shop", "happened") if rng.random() < 0.7 else ("row",)
            row |= {name: earlier[name] for name in kept}
        made.append(row | _values(rng))
    for row in made:
        row |= {name: None for name in row if rng.random() < nulls}
    return _frame(made, EVENTS)


def spine_rows(
    seed: int,
    rows: int = 40,
    *,
    hours: int = 120,
    nulls: float = 0.08,
    duplicates: float = 0.15,
    skew: float = 0.4,
    around: Sequence[datetime] = (),
) -> pd.DataFrame:
    """Spine rows: customer, shop, at, label; some of them equal.

    Args:
        seed: Equal seeds give equal frames.
        rows: Number of rows.
        hours: Length of the time that they cover.
        nulls: Share of nulls in every column.
        duplicates: Share that repeats an earlier row.
        skew: Share of rows of the first entity.
        around: As in `event_rows`.
    """
    rng = np.random.default_rng([seed, 1])
    made: list[dict[str, Any]] = []
    for index in range(rows):
        if made and rng.random() < duplicates:
            made.append(dict(made[int(rng.integers(len(made)))]))
            continue
        customer, shop = _entity(rng, skew)
        row = {"customer": customer, "shop": shop, "at": _moment(rng, hours, around), "label": index}
        made.append(row | {name: None for name in row if rng.random() < nulls})
    return _frame(made, SPINE)


def to_spark(spark: SparkSession, frame: pd.DataFrame, schema: str, *, partitions: int = 2) -> DataFrame:
    """A frame as Spark sees it, None as null and NaN as NaN.

    Args:
        spark: The session.
        frame: Its columns in the order of the schema.
        schema: Names and types, as `EVENTS`.
        partitions: Number of parts that its rows are dealt to.
    """
    rows = [tuple(row.values()) for row in records(frame)]
    return spark.createDataFrame(rows, schema).repartition(partitions)


def _entity(rng: np.random.Generator, skew: float) -> tuple[str, str]:
    return _ENTITIES[0] if rng.random() < skew else _ENTITIES[int(rng.integers(len(_ENTITIES)))]


def clock_changes(zone: str, year: int) -> tuple[datetime, ...]:
    """The instants of a year at which a zone's clocks are put forward or back, in UTC.

    Args:
        zone: As in `America/New_York`.
        year: By UTC.
    """
    local, found = ZoneInfo(zone), []
    hour = datetime(year, 1, 1, tzinfo=UTC)
    while hour.year == year:
        following = hour + timedelta(hours=1)
        if hour.astimezone(local).utcoffset() != following.astimezone(local).utcoffset():
            found.append(following)
        hour = following
    return tuple(found)


def _moment(rng: np.random.Generator, hours: int, around: Sequence[datetime]) -> datetime:
    if around:
        near = around[int(rng.integers(len(around)))] + timedelta(hours=float(rng.choice(_NEAR)))
        return near + timedelta(microseconds=int(rng.choice([-1, 0, 0, 0, 1])))
    return START + timedelta(hours=6 * int(rng.integers(0, hours // 6)), microseconds=int(rng.choice([-1, 0, 0, 0, 1])))


def _values(rng: np.random.Generator) -> dict[str, Any]:
    amount = float(rng.choice([0.1, -2.5, 1e9, 1e-7, float(rng.normal()), np.nan if rng.random() < 0.2 else 3.0]))
    price = round(float(rng.normal()) * 1000, 2)
    city = str(rng.choice(["Ulm", "ulm", "Zürich", "Aix"]))
    return {"amount": amount, "items": int(rng.integers(-5, 6)), "price": pd.NA if np.isnan(price) else _decimal(price), "city": city}


def _decimal(number: float) -> Any:
    from decimal import Decimal

    return Decimal(f"{number:.2f}")


def _frame(rows: Sequence[dict[str, Any]], schema: str) -> pd.DataFrame:
    names = [part.strip().split(" ")[0] for part in schema.replace("(9,2)", "").split(",")]
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in names})

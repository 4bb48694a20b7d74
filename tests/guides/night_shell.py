"""A shell in the folder of a project that is worked on every night, for the guides that an operator reads."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ended import Ended, run
from pyspark.sql import SparkSession
from tiny_project import UNTIL, Place, events
from warm_console import WarmConsole

__all__ = ["AS_OF", "Night", "guide", "night"]

ROOT = Path(__file__).resolve().parents[2]
# The guide's examples and what they are here. Rows end in February.
HERE = {
    "flight_id=UA-1545-EWR-20130701T1015Z": "id=7",
    "flight_scores": "tiny_scores",
    "flights": "tiny",
    "2013-07": "2020-01",
    "2013-08": "2020-02",
    "2013-09": "2020-03",
    "2013-10": "2020-04",
}
AS_OF = "2020-03-01"


def guide(name: str) -> tuple[str, dict[str, str]]:
    """A guide's text and its blocks by name."""
    text = (ROOT / "docs" / "guides" / f"{name}.md").read_text()
    return text, dict(re.findall(r"^```bash (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


NIGHTLY = guide("run_it_every_night")[1]


@dataclass
class Night:
    """A shell in the project's folder, as an operator has it."""

    place: Place
    console: WarmConsole
    spark: SparkSession
    done: dict[str, Ended] = field(default_factory=dict)

    def shell(self, text: str) -> Ended:
        """Run commands; the first that fails ends them."""
        path = os.pathsep.join([str(self.console.folder), str(Path(sys.executable).parent), os.environ["PATH"]])
        command = ["bash", "-e", "-o", "pipefail", "-c", text]
        return run(command, {**os.environ, "PATH": path}, self.place.folder)

    def block(self, name: str, blocks: Mapping[str, str] = NIGHTLY) -> Ended:
        """Run a block of a guide, with this project's name and dates; an executed one is not run again."""
        if name not in self.done:
            text = blocks[name]
            for there, here in HERE.items():
                text = text.replace(there, here)
            self.done[name] = self.shell(text)
        return self.done[name]

    def versions(self) -> dict[str, int]:
        """Version of every table."""
        return {name: self.place.tables(self.spark).newest(name).version for name in self.place.names()}


@pytest.fixture(scope="session")
def night(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A champion, nothing scored; then the guide's script and its first night."""
    place = Place(tmp_path_factory.mktemp("night") / "tiny")
    place.tables(spark).overwrite("events", events(spark).where("id is not null").coalesce(1))
    project = place.project(spark)
    project.build_features(as_of=AS_OF)
    project.train(project.training_set(until=UNTIL, as_of=AS_OF), as_of=AS_OF)
    project.promote(project.register(as_of=AS_OF), as_of=AS_OF)
    folder = tmp_path_factory.mktemp("console")
    made = Night(place, WarmConsole(spark, folder), spark)
    for name in ("script", "first-night"):
        ended = made.block(name)
        assert ended.status == 0, ended.errors
    yield made
    made.console.close()

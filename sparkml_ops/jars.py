"""Jars that Spark has fetched before: a later session takes the files themselves, without asking Ivy what they are.

With `spark.jars.packages` Spark has Ivy work out at each start what the coordinates need, from its cache too: one to three seconds of a core.
And it offers every jar to Python and to the tasks, those as well that Spark brings itself and puts first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyspark

__all__ = ["known", "remember"]

PACKAGES = "spark.jars.packages"
# A range, the newest or a snapshot may be another file tomorrow.
_MOVES = re.compile(r"SNAPSHOT|latest|[\[(+]")
_VERSION = re.compile(r"-\d[^_]*\.jar$")


def known(options: Mapping[str, str]) -> dict[str, str]:
    """The settings of a session, with files in place of coordinates where an earlier session has left their names and all are still there.

    Args:
        options: All settings of the session.
    """
    with suppress(OSError, ValueError):
        found = json.loads(_place(options).read_text())
        if all(os.access(path, os.R_OK) for path in found["jars"]):
            files = {"spark.jars": ",".join(found["jars"]), "spark.submit.pyFiles": ",".join(found["python"])}
            return {name: value for name, value in {**options, **files}.items() if name != PACKAGES and value}
    return dict(options)


def remember(options: Mapping[str, str], jars: str) -> None:
    """Leave for later sessions which files the coordinates of this one stand for; nothing where they may change, or nobody may write.

    Args:
        options: As for `known`.
        jars: What Spark says of the session that it made: `spark.jars`, addresses with commas between them.
    """
    if not options.get(PACKAGES) or options.get("spark.jars") or _MOVES.search(options[PACKAGES]):
        return
    paths = [Path(unquote(urlsplit(address).path)) for address in jars.split(",") if address]
    # Ivy names a file group_artifact-version.jar. A session on another's application has the jars of that one.
    wanted = {"{}_{}-{}.jar".format(*coordinate.split(":")[:3]) for coordinate in options[PACKAGES].split(",")}
    if not wanted <= {path.name for path in paths}:
        return
    sparks = {_VERSION.sub("", path.name) for path in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    files = [path for path in paths if _VERSION.sub("", path.name.partition("_")[2]) not in sparks]
    place = _place(options)
    with suppress(OSError, zipfile.BadZipFile):
        text = json.dumps({"jars": [str(path) for path in files], "python": [str(path) for path in files if _holds_python(path)]})
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(f".{os.getpid()}")
        partial.write_text(text)
        partial.replace(place)


def _place(options: Mapping[str, str]) -> Path:
    """One file for each Spark and whatever decides what is fetched, and from where."""
    asked = {name: value for name, value in options.items() if name.startswith("spark.jars")}
    digest = hashlib.sha256(json.dumps([pyspark.__version__, asked], sort_keys=True).encode()).hexdigest()[:16]
    return Path(sys.prefix) / "share" / "sparkml-ops" / f"jars-{digest}.json"


def _holds_python(path: Path) -> bool:
    with zipfile.ZipFile(path) as jar:
        return any(name.endswith(".py") for name in jar.namelist())

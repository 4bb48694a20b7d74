"""Checks of the machine and the stores, each with the mend for its fault."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import psutil

from feature_store.delta import Tables
from feature_store.names import Warehouse
from sparkml_ops import release, session
from sparkml_ops.environment import java_version
from sparkml_ops.errors import ContractError, OpsError, first_line
from sparkml_ops.verbs.work import Work

__all__ = ["Finding", "examine"]

_MEMORY_GIB, _DISK_GIB = 6, 2
_SETUP = "run `make setup`"
_FETCH = (
    f"read what Spark said above; where it could not fetch {session.DELTA_PACKAGE}, let it reach Maven Central over the network once, "
    "or name a mirror to Ivy (spark.jars.ivySettings in spark.conf)"
)
_NO_DELTA = re.compile(r"DATA_SOURCE_NOT_FOUND|io\.delta|sql\.delta|ClassNotFound|NoClassDefFound")
# Native libraries can end a process that loads them wrongly: each is tried in one of its own.
_HOROVOD = "import horovod.torch as h; print(h.gloo_built(), h.nccl_built(), h.mpi_built())"
_TORCH = "import torch; print(torch.__version__, torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Args:
        check: What was looked at.
        healthy: Whether it will do.
        found: What is there.
        mend: What to do about a fault.
    """

    check: str
    healthy: bool
    found: str
    mend: str = ""


def examine(work: Work, only: Collection[str] = ()) -> Iterator[Finding]:
    """Run the checks, quick ones first; a check that fails in an unknown way is a fault with its message.

    Args:
        only: Names of checks; none: all of them.

    Raises:
        ContractError: No check has such a name.
    """
    if unknown := sorted(set(only) - set(_CHECKS)):
        raise ContractError(f"the check {unknown[0]!r}", expected=f"one of {', '.join(_CHECKS)}", mend="correct --check")
    for name, check in _CHECKS.items():
        if only and name not in only:
            continue
        try:
            yield check(work)
        except OpsError as error:
            yield Finding(name, False, error.found, error.mend or str(error))
        except Exception as error:  # a doctor reports every fault instead of falling over the first
            yield Finding(name, False, _told(error), _SETUP)


def _python(work: Work) -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python", sys.version_info[:2] in ((3, 11), (3, 12)), version, "use Python 3.11 or 3.12")


def _java(work: Work) -> Finding:
    version, mend = java_version(), "install Java 17 or later (Debian: openjdk-17-jre-headless) or set JAVA_HOME"
    major = re.match(r"\d+", version or "")
    return Finding("Java", major is not None and int(major.group()) >= 17, version or "none", mend)


def _memory(work: Work) -> Finding:
    available = psutil.virtual_memory().available / 2**30
    mend = "end other programs, or lower spark.driver_memory and training.workers"
    return Finding("memory", available >= _MEMORY_GIB, f"{available:.1f} GiB available, {_MEMORY_GIB} wanted", mend)


def _disk(work: Work) -> Finding:
    root = work.sections.storage.root
    place = Path(root) if "://" not in root else Path.cwd()
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(nearest).free / 2**30
    return Finding("disk", free >= _DISK_GIB, f"{free:.1f} GiB free, {_DISK_GIB} wanted", "free space, or move storage.root and warehouse.root")


def _torch(work: Work) -> Finding:
    if util.find_spec("torch") is None:
        return Finding("torch", False, "not installed", f"{_SETUP}, or install the extra `torch`")
    version, devices = _in_own_process(_TORCH).split()
    return Finding("torch", True, f"{version}, {devices} CUDA devices" if devices != "0" else f"{version}, CPU only")


def _horovod(work: Work) -> Finding:
    if util.find_spec("horovod") is None:
        return Finding("Horovod", work.sections.training.backend != "horovod", "not installed", f"{_SETUP}, or --set training.backend=ddp")
    gloo, nccl, mpi = (word not in ("False", "0") for word in _in_own_process(_HOROVOD).split())
    built = [name for name, there in (("Gloo", gloo), ("NCCL", nccl), ("MPI", mpi)) if there]
    return Finding("Horovod", gloo, f"{metadata.version('horovod')} with {', '.join(built) or 'no transport'}", "build it with HOROVOD_WITH_GLOO=1")


def _mlflow(work: Work) -> Finding:
    return Finding("MLflow store", True, work.tracking.check())


def _champion(work: Work) -> Finding:
    """Whether the alias is where its last event put it."""
    model = work.sections.release.model
    if not release.history(work.tables, model):
        return Finding("champion", True, "none yet")
    alias = release.alias_state(work.tables, work.tracking, model)
    if alias.state == "by hand":
        refusal = alias.refusal()
        return Finding("champion", False, refusal.found, refusal.mend)
    if alias.state == "cut off":
        return Finding("champion", False, f"a move of {model}@{release.CHAMPION} that was cut off", "`sparkml-ops reconcile` finishes it")
    return Finding("champion", True, "none now" if alias.version is None else f"version {alias.version} of {model}, as its events say")


def _spark(work: Work) -> Finding:
    """Whether Spark starts, and what its executors write with Delta is read back."""
    name, folder = "Spark and Delta", f"doctor-{uuid.uuid4().hex}"
    try:
        spark = work.spark
    except OpsError:
        raise
    except Exception as error:  # of Java, of the network: Spark has said on standard error what it tried
        return Finding(name, False, f"no session ({_told(error)})", _FETCH)
    try:
        # Beside the objects: where driver and executors both have to reach, and nobody looks for a table.
        tables = Tables(spark, Warehouse(root=work.storage.spark_path(folder)))
        tables.overwrite("probe", spark.range(1))
        tables.read("probe").count()
    except Exception as error:
        if not _NO_DELTA.search(str(error)):
            return Finding(name, False, _told(error), f"let driver and executors write to storage.root ({work.sections.storage.root})")
        flags = f"submit with --packages {session.DELTA_PACKAGE}, and take spark.jars.packages out of spark.conf"
        return Finding(name, False, f"Spark {spark.version} without Delta's classes", flags)
    finally:
        work.storage.remove(folder)
    return Finding(name, True, f"Spark {spark.version}, Delta {metadata.version('delta-spark')}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _in_own_process(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise OpsError(f"a failing import ({done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode})", mend=_SETUP)
    return done.stdout.strip().splitlines()[-1]


_CHECKS: dict[str, Callable[[Work], Finding]] = {
    "Python": _python,
    "Java": _java,
    "memory": _memory,
    "disk": _disk,
    "torch": _torch,
    "Horovod": _horovod,
    "MLflow store": _mlflow,
    "champion": _champion,
    "Spark and Delta": _spark,
}

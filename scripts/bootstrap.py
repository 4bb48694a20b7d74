"""Set up `.venv`: locked install, Horovod's wheel from a user cache, the project itself.

Run by `make setup` with Python 3.11 or 3.12; needs only the standard library. A second run
finds its stamp and ends at once. Horovod 0.28.1 has no wheel for today's torch: it is built
once (two to eight minutes on two cores) and kept in the user's cache, keyed by the versions
it was built with.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
# The framework, and the worked example as a team would install its own project.
PROJECTS = (ROOT, ROOT / "conf" / "projects" / "flights")
CLASS_ARCHIVE = ROOT / "scripts" / "class_archive.py"
HOROVOD_FLAGS = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
}
# What docs/guides/gpu.md sets to build it for GPUs.
HOROVOD_WISHES = ("HOROVOD_GPU_", "HOROVOD_NCCL_", "HOROVOD_CUDA_", "HOROVOD_BUILD_CUDA_")


class SetupError(Exception):
    """Something the user has to install or change; the text says what."""


def main() -> int:
    """Bring the environment up to date and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where the environment goes")
    parser.add_argument("--force", action="store_true", help="install again even if nothing changed")
    arguments = parser.parse_args()
    try:
        return install(arguments.venv.absolute(), force=arguments.force)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"setup: the command above failed with exit code {error.returncode}: {error.cmd}", file=sys.stderr)
        return 5


def install(venv: Path, *, force: bool) -> int:
    """Install what the locks name into `venv`, unless its stamp says that it is there."""
    started = time.monotonic()
    check_python()
    java = check_java()
    stamp, wanted = venv / "sparkml-ops.stamp", fingerprint(java)
    if not force and stamp.is_file() and stamp.read_text() == wanted:
        print("setup: up to date")
        return 0
    python = venv / "bin" / "python"
    if not python.exists():
        step("environment", sys.executable, "-m", "venv", str(venv))
    if not (venv / "bin" / "uv").exists():
        step("installer", str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCKS / "uv.txt"))
    stamp.unlink(missing_ok=True)
    pip = [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(python)]
    step("locked packages", *pip, "--require-hashes", "-r", str(LOCKS / "lock.txt"))
    step("Horovod", *pip, "--no-deps", "--reinstall-package", "horovod", str(horovod_wheel(venv)))
    step("sparkml-ops", *pip, "--no-deps", "--no-build-isolation", *(part for project in PROJECTS for part in ("-e", str(project))))
    archive_classes(python)
    stamp.write_text(wanted)
    print(f"setup: done in {time.monotonic() - started:.0f} s")
    return 0


def check_python() -> None:
    """Refuse a Python that the locked packages were not checked with."""
    if sys.version_info[:2] not in ((3, 11), (3, 12)):
        raise SetupError(f"found Python {platform.python_version()}, expected 3.11 or 3.12: run `make setup PYTHON=python3.11`")


def check_java() -> str:
    """What Java calls itself; a missing or old one is refused: Spark 4.2 needs 17 or later."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    mend = "install Java 17 or later (Debian: `apt-get install openjdk-17-jre-headless`; macOS: `brew install openjdk@17`) or set JAVA_HOME"
    if not java or not Path(java).exists():
        raise SetupError(f"found no Java{f' under JAVA_HOME={home}' if home else ''}: {mend}")
    text = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    major = int(found.group(2) or 0) if found and found.group(1) == "1" else int(found.group(1)) if found else 0
    if major < 17:
        raise SetupError(f"found Java {major or 'of unknown version'} at {java}, expected 17 or later: {mend}")
    return text


def fingerprint(java: str) -> str:
    """Digest of everything that decides what is installed; `java` too, since its archive of classes is its own."""
    digest = hashlib.sha256(f"{platform.python_version()} {ROOT} {java} {sorted(horovod_flags().items())}".encode())
    for path in (*sorted(LOCKS.iterdir()), *(project / "pyproject.toml" for project in PROJECTS), Path(__file__), CLASS_ARCHIVE):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def horovod_wheel(venv: Path) -> Path:
    """The cached Horovod wheel for these versions, built now if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparkml-ops" / "wheels" / wheel_key()
    found = sorted(cache.glob("horovod-*.whl"))
    if found:
        print(f"setup: Horovod's wheel found in the cache ({cache.name})", flush=True)
        return found[0]
    print("setup: building Horovod's wheel, once for these versions: two to eight minutes on two cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="sparkml-ops-horovod-") as folder:
        built = build_horovod(venv, Path(folder))
        cache.mkdir(parents=True, exist_ok=True)
        partial = cache / f".{built.name}.{os.getpid()}"
        shutil.copy2(built, partial)
        return partial.rename(cache / built.name)  # a rename, so that a killed copy is never taken for a wheel


def wheel_key() -> str:
    """Versions that a compiled Horovod depends on, as one folder name."""
    lock = (LOCKS / "lock.txt").read_text()
    torch = re.search(r"^torch==([\w.+]+)", lock, re.M)
    horovod = re.search(r"^horovod==([\w.]+)", (LOCKS / "horovod.txt").read_text(), re.M)
    if not torch or not horovod:
        raise SetupError("the lock names no torch or no horovod: restore requirements/ from version control")
    recipe = hashlib.sha256(repr(sorted(horovod_flags().items())).encode()).hexdigest()[:8]
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-{platform.machine()}-{platform.system().lower()}"
    return f"horovod-{horovod.group(1)}-torch-{torch.group(1)}-{tag}-{recipe}"


def horovod_flags() -> dict[str, str]:
    """How Horovod is built: with Gloo for processors, and as the environment wishes for GPUs."""
    return {**HOROVOD_FLAGS, **{name: value for name, value in os.environ.items() if name.startswith(HOROVOD_WISHES)}}


def build_horovod(venv: Path, folder: Path) -> Path:
    """Download the locked source, lift its C++ standard to what torch needs, build the wheel."""
    if not shutil.which("c++") and not shutil.which("g++"):
        raise SetupError("found no C++ compiler, expected one for Horovod: install it (Debian: `apt-get install g++ make`)")
    python = str(venv / "bin" / "python")
    environment = {
        **os.environ,
        **horovod_flags(),
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "MAKEFLAGS": f"-j{os.cpu_count() or 2}",
    }
    pip = [python, "-m", "pip"]
    fetch = [*pip, "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    step("Horovod's source", *fetch, "-d", str(folder), "-r", str(LOCKS / "horovod.txt"), env=environment)
    archive = next(folder.glob("horovod-*.tar.gz"))
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    tree = folder / archive.name.removesuffix(".tar.gz")
    for name in ("CMakeLists.txt", "horovod/torch/CMakeLists.txt"):
        path = tree / name
        text, changed = re.subn(r"CMAKE_CXX_STANDARD 1[47]", "CMAKE_CXX_STANDARD 20", path.read_text())
        if not changed:
            raise SetupError(f"{name} of Horovod sets no C++ standard that this script knows: the patch must be renewed")
        path.write_text(text)
    step("Horovod's wheel", *pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(tree), env=environment)
    return next(folder.glob("horovod-*.whl"))


def archive_classes(python: Path) -> None:
    """Fetch Delta's jars and write Java's archive of Spark's classes; without it sessions start as they would anywhere."""
    name = "Delta's jars and an archive of Spark's classes"
    try:
        step(name, str(python), str(CLASS_ARCHIVE), quiet=True)
    except subprocess.CalledProcessError as error:
        print(f"setup: {name}: failed, which only makes sessions start slower: {error.stderr.strip().splitlines()[-1:]}", flush=True)


def step(name: str, *command: str, env: dict[str, str] | None = None, quiet: bool = False) -> None:
    """Run one command, with its name and time on the terminal."""
    print(f"setup: {name} …", flush=True)
    started = time.monotonic()
    subprocess.run(command, check=True, env=env, cwd=ROOT, capture_output=quiet, text=True)
    print(f"setup: {name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

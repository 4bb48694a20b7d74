"""The command that runs a verb under spark-submit, as README and `jobs/<verb>.py --help` show it."""

from __future__ import annotations

from sparkml_ops.session import DELTA_PACKAGE, DELTA_SETTINGS

__all__ = ["submit_command"]

_OPTIONS = {"training-set": "--until 2013-07-01", **dict.fromkeys(("score", "drift", "monitor", "retrain"), "--window 2013-07")}


def submit_command(verb: str) -> str:
    r"""A command for a shell, on several lines.

    Args:
        verb: As on the command line.

    >>> print(submit_command("score").splitlines()[0])
    spark-submit --master spark://host:7077 --packages io.delta:delta-spark_4.2_2.13:4.4.0 \
    """
    lines = [
        f"spark-submit --master spark://host:7077 --packages {DELTA_PACKAGE}",
        *(f"--conf {key}={value}" for key, value in DELTA_SETTINGS.items()),
        f"jobs/{verb.replace('-', '_')}.py --project flights --env cluster {_OPTIONS.get(verb, '')}".rstrip(),
    ]
    return " \\\n  ".join(lines)

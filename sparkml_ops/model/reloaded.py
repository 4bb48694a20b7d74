"""A model's predictions for a file of rows, by a process that has done nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from pyarrow import feather

from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import load

__all__ = ["in_clean_process", "predicted_by"]

_SECONDS = 300


def predicted_by(folder: Path, rows: pa.Table) -> pa.Table:
    """The predictions of an artifact, a column an output.

    Args:
        folder: The verified artifact.
        rows: With the model's inputs.
    """
    predictor = load(folder)
    return pa.table(dict(zip([name for name, _ in predictor.spec.outputs], predictor.columns(rows.combine_chunks()), strict=True)))


def in_clean_process(folder: Path, rows: pa.Table) -> pa.Table:
    """The same, by a new process.

    Raises:
        ContractError: It failed.
    """
    with TemporaryDirectory() as scratch:
        given, answer = Path(scratch) / "rows.arrow", Path(scratch) / "predicted.arrow"
        feather.write_feather(rows, given)
        command = [sys.executable, "-m", "sparkml_ops.model.reloaded", str(folder), str(given), str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ContractError(f"a clean process without an answer after {_SECONDS} s", mend="load the artifact by hand to see why") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
            raise ContractError(f"a clean process that ended with {done.returncode}: {last}", mend="load the artifact by hand to see why")
        return feather.read_table(answer, memory_map=False)


if __name__ == "__main__":
    feather.write_feather(predicted_by(Path(sys.argv[1]), feather.read_table(sys.argv[2])), sys.argv[3])

"""The hooks of `train` and `score`, at each of which the kill tests kill, and the hooks that these two verbs do not pass.

The names stand here so that a hook which the tiny project happens not to pass is seen: the source is compared with this list
without a JVM, and what the tiny project passes is compared with it where it is killed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path

__all__ = ["BY_TABLE", "ELSEWHERE", "PASSED", "RESUMED", "STAGED", "hooks_in"]

PASSED = {
    "train": {
        "mlflow.create_store",
        "mlflow.create_experiment",
        "mlflow.create_run",
        "mlflow.log_params",
        "mlflow.log_metrics",
        "mlflow.log_artifact",
        "mlflow.finish_run",
        "storage.publish.spec",
        "storage.publish.checkpoint",
        "storage.publish.checkpoint_manifest",
        "storage.publish.report",
        "storage.publish.trained",
        "storage.publish.artifact_file",
        "storage.publish.artifact",
        "storage.publish.baseline_file",
        "storage.publish.baseline",
        "storage.publish.evaluation",
        "delta.commit.runs",
    },
    "score": {
        "storage.publish.model",
        "delta.commit.tiny_scores_scoring_set",
        "delta.create.tiny_scores",
        "scoring.write",
        "delta.commit.tiny_scores",
        "delta.commit.runs",
    },
}
# Passed by a verb that goes on after a kill, and never by an unbroken one.
RESUMED = {"train": ["mlflow.resume_run"]}
# A table that the configuration names, in the source's words.
BY_TABLE = {
    "delta.create.tiny_scores": "delta.create.* of sparkml_ops/scoring/file_pass.py",
    "delta.commit.tiny_scores": "delta.commit.* of sparkml_ops/scoring/file_pass.py",
    "delta.commit.tiny_scores_scoring_set": "delta.commit.* of sparkml_ops/scoring/scoring_set.py",
}
# Of `score` through the JVM, which the tables of the tiny project do not need: it is killed there too, by name, in the source's words.
STAGED = {"scoring.stage": "scoring.stage", "delta.commit.tiny_scores": "delta.commit.* of sparkml_ops/scoring/window_pass.py"}
ELSEWHERE = {
    **dict.fromkeys(
        ["mlflow.log_model", "mlflow.create_model", "mlflow.create_version"],
        "of register, which is killed in tests/unit/tracking/test_registration.py",
    ),
    **dict.fromkeys(
        ["mlflow.set_alias", "mlflow.delete_alias", "delta.commit.model_events", "delta.commit.gate_reports"],
        "of register and promote, killed in tests/faults/test_release_kills.py",
    ),
    "delta.commit.model_approvals": "of register with a gate of kind approval, and of `models approve`; killed there too",
    "storage.publish.importance": "of models card, one object that is put again",
    "mlflow.set_tag": "of promote; of train only where a run goes on with another number of workers",
    "mlflow.delete_run": "of train only where two drivers begin the same run at the same moment",
    **dict.fromkeys(
        ["storage.publish.claimed", "storage.publish.started", "storage.publish.ended", "storage.publish.timeline"],
        "of ranks in processes of their own, which tests/distributed ends in every way; what is left of them belongs to one attempt",
    ),
    **dict.fromkeys(
        ["storage.publish.start", "storage.publish.start_file", "storage.publish.forgetting"],
        "of a warm training, killed in tests/spark/training/test_training_run.py",
    ),
    **dict.fromkeys(
        [
            "delta.create.* of feature_store/writing.py",
            "delta.create.* of feature_store/pii.py",
            *(f"delta.commit.* of feature_store/{name}.py" for name in ("incremental/update", "refresh", "source", "training_set", "writing")),
            "delta.commit.feature_tables",
            "delta.commit.training_sets",
        ],
        "of build-features and training-set",
    ),
    **dict.fromkeys(
        ["delta.commit.drift_metrics", "delta.commit.profile_state", "delta.commit.performance_metrics", "storage.publish.calibration"],
        "of drift and monitor",
    ),
    **dict.fromkeys(
        ["delta.create.concept_states", "delta.commit.concept_states"], "of concept --follow, killed in tests/spark/monitoring/test_detectors.py"
    ),
    **dict.fromkeys(
        ["storage.publish.trial_begun", "storage.publish.trial_asked", "storage.publish.trial_answered", "storage.publish.trial_finished"],
        "of tune, which is killed in tests/unit/training/test_tuning_search.py",
    ),
    **dict.fromkeys(
        ["storage.publish.catalogue_part", "storage.publish.catalogue"], "of a retrieval, killed in tests/spark/training/test_retrieval_run.py"
    ),
    "storage.publish.chunk": "of score where a window has several chunks, which is killed in tests/spark/scoring/test_chunks.py",
    "delta.commit.* of sparkml_ops/scoring/item_index.py": "of build_index, one commit that is made again",
    "delta.commit.* of sparkml_ops/scoring/withdrawal.py": "of predictions rollback, cut off before its ledger in tests/spark/scoring/test_predictions.py",
    "delta.commit.contract_results": "of score with a contract, before its own commit: a repeat adds the verdicts of its own run",
    "delta.commit.published_predictions": "of predictions publish, which is that one commit",
    "storage.publish.trial_model": "of tune with automl, before trial_finished, without which it does not count",
    "delta.commit.consumers": "of register and promote, each before its entry in the ledger; of score only where a version was never promoted",
    "delta.commit.* of feature_store/quality/quarantine.py": "of build-features, killed in tests/tables/test_quality_kills.py",
    "delta.commit.retrainings": "of retrain",
    "delta.commit.alerts": "of alerts check, killed in tests/unit/alerts/test_alerts.py",
    **dict.fromkeys(
        ["delta.commit.erasures", "erasure.purge", "erasure.vacuum", "erasure.shorten", "erasure.properties"],
        "of forget, which is killed in tests/tables/test_forget.py",
    ),
    "delta.commit.probe": "of doctor",
}
_WRITES = {"append", "add", "overwrite", "place", "put", "replace", "merge"}


def hooks_in(root: Path) -> dict[str, str]:
    """Names of the hooks in the source below a folder, and a place of each; `*` is what only a run knows."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        module = _Module(path, f"{root.name}/{path.relative_to(root).as_posix()}")
        found.update({name: place for name, place in module.hooks() if name not in found})
    return found


class _Module:
    """The hooks of one file.

    Args:
        path: The file.
        shown: Its name below the checkout.
    """

    def __init__(self, path: Path, shown: str) -> None:
        tree = ast.parse(path.read_text())
        self._shown = shown
        self._calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        self._functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assigned = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
        self._constants = {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}

    def hooks(self) -> Iterator[tuple[str, str]]:
        for call in self._calls:
            for family, argument in _arguments(call):
                for name in self._values(argument):
                    whole = f"{family}{name}"
                    yield f"{whole} of {self._shown}" if whole.endswith("*") else whole, f"{self._shown}:{call.lineno}"

    def _values(self, node: ast.expr) -> set[str]:
        """The texts that an expression can be, as far as this file says."""
        if isinstance(node, ast.Constant):
            return {str(node.value)}
        if isinstance(node, ast.JoinedStr):
            parts = [self._values(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values]
            return {"".join(choice) for choice in product(*parts)}
        if isinstance(node, ast.Name) and node.id in self._constants:
            return self._values(self._constants[node.id])
        if isinstance(node, ast.Name) and (given := list(self._given(node))):
            return set().union(*map(self._values, given))
        return {"*"}

    def _given(self, name: ast.Name) -> Iterator[ast.expr]:
        """What this file's calls hand to the function that has this name as a parameter."""
        holders = [function for function in self._functions if function.lineno <= name.lineno <= (function.end_lineno or 0)]
        for function in holders:
            names = [argument.arg for argument in function.args.args if argument.arg != "self"]
            if name.id in names:
                place = names.index(name.id)
                for call in self._calls:
                    if _called(call) == function.name and len(call.args) > place:
                        yield call.args[place]


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def _arguments(call: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    """What names the hook in a call that passes one, and what the name begins with."""
    name, owner = _called(call), ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    if name in ("passing", "reach") and not isinstance(call.args[0], ast.JoinedStr | ast.Name):
        yield "", call.args[0]
    elif name == "calling" and len(call.args) > 1:
        yield "", call.args[1]
    elif name in ("publish", "publish_file"):
        yield from (("storage.publish.", keyword.value) for keyword in call.keywords if keyword.arg == "kind")
    elif owner.endswith("tables") and name in _WRITES:
        yield "delta.commit.", call.args[0]
    elif owner.endswith("tables") and name == "ensure":
        yield "delta.create.", call.args[0]

"""Fetching: what is loaded is what was registered, and nothing of it runs before that is known."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

from feature_store.records import TrainingSet
from sparkml_ops.errors import ContractError
from sparkml_ops.model.artifact import load
from sparkml_ops.tracking import RegisteredModel, Registry, Tracking, load_pyfunc

INPUTS = (("distance", "double"), ("seats", "int"), ("carrier", "string"))
SKLEARN = ("mlflow.sklearn",)
TRUSTED = ("foreign",)


@pytest.fixture
def registered(tracking: Tracking, artifact: Path, training_set: TrainingSet) -> RegisteredModel:
    """Version 1 of `flights`, the champion."""
    run = tracking.run("train/flights/1", "a")
    version = tracking.register(run.run_id, artifact, name="flights", training_set=training_set, inputs=INPUTS, outputs=(("probability", "double"),))
    tracking.set_alias("flights", "champion", version)
    return tracking.resolve("flights", "champion")


def source(registered: RegisteredModel) -> Path:
    """Where the store keeps the version's files."""
    return Path(unquote(urlsplit(registered.source).path))


def test_a_fetched_model_is_the_trained_one(tracking: Tracking, registered: RegisteredModel, artifact: Path, tmp_path: Path) -> None:
    """The files come back bit by bit."""
    folder = tracking.fetch(registered, tmp_path / "cache" / registered.digest)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {path.name: path.read_bytes() for path in artifact.iterdir()}
    assert load(folder).spec.inputs == INPUTS


def test_a_registry_needs_no_experiment(tracking: Tracking, registered: RegisteredModel, tmp_path: Path) -> None:
    """Scoring in a notebook knows the store's address and no project."""
    registry = Registry(tracking.uri)

    assert registry.resolve("flights", "champion") == registered
    assert registry.fetch(registered, tmp_path / "cache").is_dir()


def test_a_folder_that_is_there_is_verified_again(tracking: Tracking, registered: RegisteredModel, tmp_path: Path) -> None:
    """A cache is trusted no more than a store."""
    folder = tracking.fetch(registered, tmp_path / "cache")
    assert tracking.fetch(registered, tmp_path / "cache") == folder
    (folder / "model.json").write_text("{}")

    with pytest.raises(ContractError, match=r"model.json has SHA-256"):
        tracking.fetch(registered, tmp_path / "cache")


def flip(folder: Path) -> None:
    weights = folder / "data/artifact/weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))


def add(folder: Path) -> None:
    (folder / "data/artifact/extra.bin").write_bytes(b"x")


def lose(folder: Path) -> None:
    (folder / "data/artifact/model.json").unlink()


@pytest.mark.parametrize(
    ("damage", "named"),
    [(flip, "weights.safetensors has SHA-256"), (add, "extra.bin was added"), (lose, "model.json is missing")],
)
def test_changed_files_are_refused_with_both_digests(
    tracking: Tracking, registered: RegisteredModel, tmp_path: Path, damage: Callable[[Path], None], named: str
) -> None:
    """One flipped bit, one file more or one file less: the error names the file, and no folder appears."""
    damage(source(registered))

    with pytest.raises(ContractError, match=named) as caught:
        tracking.fetch(registered, tmp_path / "cache")

    assert registered.digest in str(caught.value)
    assert "digest" in caught.value.found
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("cache")) == []


def test_files_that_are_gone_are_an_error(tracking: Tracking, registered: RegisteredModel, tmp_path: Path) -> None:
    """A version whose artifacts were deleted says so."""
    shutil.rmtree(source(registered))

    with pytest.raises(ContractError, match="version 1 of `flights`"):
        tracking.fetch(registered, tmp_path / "cache")


def mlmodel(folder: Path, change: Callable[[dict[str, object], dict[str, object]], None]) -> None:
    """Rewrite the MLmodel file: change(document, its python_function flavour)."""
    document = yaml.safe_load((folder / "MLmodel").read_text())
    change(document, document["flavors"]["python_function"])
    (folder / "MLmodel").write_text(yaml.safe_dump(document))


def os_loader(folder: Path) -> None:
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(loader_module="os"))


def evil_module(folder: Path) -> None:
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(loader_module="evil", code="code"))


def packed_code(folder: Path) -> None:
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(code="code"))


def code_folder(folder: Path) -> None:
    return None


def other_code(folder: Path) -> None:
    (folder / "code").rename(folder / "lib")
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(code="lib"))


def escaping_data(folder: Path) -> None:
    (folder / "code").rename(folder.parent / "outside")
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(data="../outside"))


def absolute_data(folder: Path) -> None:
    (folder / "code").rename(folder.parent / "outside")
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(data=str(folder.parent / "outside")))


def escaping_example(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    mlmodel(folder, lambda document, _: document.update(saved_input_example_info={"artifact_path": "../../secret.json"}))


def other_data(folder: Path) -> None:
    (folder / "code").rename(folder / "data" / "other")
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(data="data/other"))


def second_flavour(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    mlmodel(folder, lambda document, _: document["flavors"].update(sklearn={"pickled_model": "model.pkl"}))  # type: ignore[attr-defined]


def renamed_predict(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    mlmodel(folder, lambda _, pyfunc: pyfunc.update(predict_fn="__reduce__"))


def python_tag(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    marker = folder.parents[4] / "marker"
    (folder / "MLmodel").write_text(f"flavors: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{marker}']]\n")


def alias_bomb(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
    (folder / "MLmodel").write_text("\n".join(lines))


def huge(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    with (folder / "MLmodel").open("a") as file:
        file.write("# " + "x" * (1 << 20))


def no_flavour(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    (folder / "MLmodel").write_text("flavors: {}\n")


def no_map(folder: Path) -> None:
    shutil.rmtree(folder / "code")
    (folder / "MLmodel").write_text("- a\n")


HOSTILE = {
    os_loader: "loaded by 'os'",
    evil_module: "loaded by 'evil'",
    packed_code: "its own code",
    code_folder: "its own code",
    other_code: "its own code",
    escaping_data: r"the path '\.\./outside'",
    absolute_data: "the path '/",
    escaping_example: "the path",
    other_data: "data 'data/other'",
    second_flavour: "flavour sklearn",
    renamed_predict: "key predict_fn",
    python_tag: "no plain YAML",
    alias_bomb: "it holds an alias",
    huge: "bytes",
    no_flavour: "without the flavour python_function",
    no_map: "no map",
}


def pack_evil(folder: Path, marker: Path) -> None:
    """A code folder whose modules touch the marker when they are imported."""
    evil = f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef _load_pyfunc(path):\n    return None\n"
    for module in ("evil.py", "sparkml_ops/__init__.py", "sparkml_ops/model/__init__.py", "sparkml_ops/model/pyfunc.py"):
        (folder / "code" / module).parent.mkdir(parents=True, exist_ok=True)
        (folder / "code" / module).write_text(evil)


def test_plain_mlflow_would_run_such_a_model(registered: RegisteredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack is real: without our checks the packed module is imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    pack_evil(source(registered), tmp_path / "marker")
    evil_module(source(registered))

    with pytest.raises(MlflowException, match="missing required predict method"):
        mlflow.pyfunc.load_model(str(source(registered)))

    assert (tmp_path / "marker").exists()
    del sys.modules["evil"]


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_a_hostile_model_is_refused_and_leaves_no_trace(
    tracking: Tracking, registered: RegisteredModel, tmp_path: Path, attack: Callable[[Path], None]
) -> None:
    """Whatever an MLmodel file asks for, nothing in the folder is imported or called."""
    folder, marker = source(registered), tmp_path / "marker"
    pack_evil(folder, marker)
    attack(folder)

    with pytest.raises(ContractError, match=HOSTILE[attack]):
        tracking.fetch(registered, tmp_path / "cache")
    with pytest.raises(ContractError, match=HOSTILE[attack]):
        load_pyfunc(folder, loaders=())

    assert not marker.exists()
    assert not (tmp_path / "cache").exists()


def test_a_link_in_a_fetched_folder_is_refused(tracking: Tracking, registered: RegisteredModel, tmp_path: Path) -> None:
    """A link could point anywhere, and to something else tomorrow."""
    folder = tracking.fetch(registered, tmp_path / "cache")
    (folder / "model.json").rename(tmp_path / "elsewhere.json")
    (folder / "model.json").symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(ContractError, match=r"links in the model: data/artifact/model.json"):
        tracking.fetch(registered, tmp_path / "cache")


def test_what_is_missing_is_told_with_what_is_there(tracking: Tracking, registered: RegisteredModel) -> None:
    """An unknown model, alias or version lists those that exist."""
    with pytest.raises(ContractError, match=r"no registered model `fligths`; expected one of flights"):
        tracking.resolve("fligths", "champion")
    with pytest.raises(ContractError, match=r"no alias shadow of `flights`; expected aliases champion; versions 1"):
        tracking.resolve("flights", "shadow")
    with pytest.raises(ContractError, match=r"no version 7 of `flights`; expected aliases champion; versions 1"):
        tracking.resolve("flights", 7)


def test_aliases_move_and_go(tracking: Tracking, registered: RegisteredModel) -> None:
    """An alias means one version, another one, or none."""
    assert tracking.alias("flights", "champion") == 1
    tracking.delete_alias("flights", "champion")
    assert tracking.alias("flights", "champion") is None


@pytest.fixture
def foreign(tracking: Tracking, tmp_path: Path) -> LogisticRegression:
    """Version 1 of `foreign`: a scikit-learn model that somebody registered without us."""
    model = LogisticRegression().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 1, 0, 1])
    mlflow.sklearn.save_model(model, str(tmp_path / "sk"), serialization_format="cloudpickle", pip_requirements=["scikit-learn"])
    client = MlflowClient(tracking_uri=tracking.uri)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", (tmp_path / "sk").as_uri())
    return model


def test_a_model_that_somebody_else_registered_has_no_digest(tracking: Tracking, foreign: LogisticRegression) -> None:
    """It is not used before it was taken over."""
    with pytest.raises(ContractError, match=r"without the tags sparkml_ops.digest"):
        tracking.resolve("foreign", 1)


def test_a_foreign_model_is_used_where_the_configuration_allows_its_loader(
    tracking: Tracking, foreign: LogisticRegression, training_set: TrainingSet, tmp_path: Path
) -> None:
    """Once taken over, its files are verified like ours."""
    adopted = tracking.adopt("foreign", 1, training_set, loaders=SKLEARN, pickled=TRUSTED)
    folder = tracking.fetch(adopted, tmp_path / "cache", loaders=SKLEARN, pickled=TRUSTED)
    frame = np.array([[0.5], [2.5]])

    assert adopted == tracking.resolve("foreign", 1)
    assert np.array_equal(load_pyfunc(folder, loaders=SKLEARN, pickled=True).predict(frame), foreign.predict(frame))


def test_a_foreign_loader_that_nobody_allowed_is_refused(
    tracking: Tracking, foreign: LogisticRegression, training_set: TrainingSet, tmp_path: Path
) -> None:
    """scikit-learn models are pickles: loading one is running code."""
    with pytest.raises(ContractError, match=r"loaded by 'mlflow.sklearn'; expected one of sparkml_ops.model.pyfunc"):
        tracking.adopt("foreign", 1, training_set, loaders=())
    adopted = tracking.adopt("foreign", 1, training_set, loaders=SKLEARN, pickled=TRUSTED)
    with pytest.raises(ContractError, match=r"loaded by 'mlflow.sklearn'"):
        tracking.fetch(adopted, tmp_path / "cache")


def test_an_allowed_loader_unpickles_no_model_that_is_not_named(
    tracking: Tracking, foreign: LogisticRegression, training_set: TrainingSet, tmp_path: Path
) -> None:
    """Nor does one that makes whatever class its package names."""
    adopted = tracking.adopt("foreign", 1, training_set, loaders=SKLEARN, pickled=TRUSTED)

    for pickled in ((), ("flights",)):
        with pytest.raises(ContractError, match=r"may run code of whoever made it .*scoring.trusted_pickles"):
            tracking.adopt("foreign", 1, training_set, loaders=SKLEARN, pickled=pickled)
        with pytest.raises(ContractError, match=r"may run code of whoever made it"):
            tracking.fetch(adopted, tmp_path / "cache", loaders=SKLEARN, pickled=pickled)
    for flavour, told in {
        "sklearn": {"serialization_format": "skops", "skops_trusted_types": ["evil.Class"]},
        "xgboost": {"model_class": "subprocess.Popen", "data": "model.ubj"},
        "lightgbm": {"model_class": "lightgbm.sklearn.LGBMClassifier"},
        "pytorch": {"model_data": "data"},
    }.items():
        folder = tmp_path / flavour
        folder.mkdir()
        loader = f"mlflow.{flavour}"
        (folder / "MLmodel").write_text(yaml.safe_dump({"flavors": {flavour: told, "python_function": {"loader_module": loader}}}))
        with pytest.raises(ContractError, match=f"loaded by {loader} in this form"):
            load_pyfunc(folder, loaders=(loader,))


def test_a_foreign_model_that_changed_is_refused(tracking: Tracking, foreign: LogisticRegression, training_set: TrainingSet, tmp_path: Path) -> None:
    """The digest of a foreign model is over every file of it."""
    adopted = tracking.adopt("foreign", 1, training_set, loaders=SKLEARN, pickled=TRUSTED)
    (tmp_path / "sk" / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")

    with pytest.raises(ContractError, match=r"model.pkl has SHA-256"):
        tracking.fetch(adopted, tmp_path / "cache", loaders=SKLEARN, pickled=TRUSTED)

"""The configuration: one merge rule, closed keys, origins, hashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkml_ops.config.document import read_document
from sparkml_ops.config.load import load
from sparkml_ops.config.merge import Merged
from sparkml_ops.config.secret import reveal
from sparkml_ops.errors import ConfigurationError

FLIGHTS = Path(__file__).resolve().parents[3] / "conf"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    (folder / "env").mkdir(parents=True)
    (folder / "projects" / "shop").mkdir(parents=True)
    (folder / "base.yaml").write_text("warehouse: {root: data/warehouse}\nspark: {conf: {a: '1'}}\n")
    (folder / "env" / "local.yaml").write_text("spark: {master: 'local[2]', conf: {b: '2'}}\n")
    (folder / "projects" / "shop" / "training.yaml").write_text("training: {epochs: 3, seed: 7}\n")
    return folder


class TestLoad:
    def test_layers_merge_in_order(self, conf: Path) -> None:
        """base < env < project < --set; maps merge."""
        config = load(conf, "shop", overrides=("training.epochs=5",))

        assert config.sections.training.epochs == 5
        assert config.sections.training.seed == 7
        assert config.sections.spark.conf == {"a": "1", "b": "2"}

    def test_relative_folders_are_relative_to_the_folder_of_conf(self, conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The caller's working directory does not move the data."""
        monkeypatch.chdir("/")

        sections = load(conf, "shop").sections

        assert sections.warehouse.root == str(tmp_path / "data/warehouse")
        assert sections.storage.root == str(tmp_path / "data/storage")
        assert sections.mlflow.tracking_uri == f"sqlite:///{tmp_path}/data/mlflow.db"

    def test_an_unknown_key_names_file_path_and_nearest_key(self, conf: Path) -> None:
        """A misspelt key is an error, never ignored."""
        (conf / "projects" / "shop" / "training.yaml").write_text("training: {epoch: 3}\n")

        with pytest.raises(ConfigurationError, match=r"conf/projects/shop/training\.yaml: training\.epoch .*did you mean `epochs`") as caught:
            load(conf, "shop")
        assert caught.value.exit_code == 2

    @pytest.mark.parametrize(
        ("override", "key", "meant"),
        [
            ("features.planes.keyss=[a]", "features.planes.keyss", "keys"),
            ("training_set.lookups=[{table: planes, keyz: [a]}]", "training_set.lookups.0.keyz", "keys"),
            ("features.planes.aggregates=[{function: sum, colum: x, window: 7d}]", "features.planes.aggregates.0.colum", "column"),
            ("scoring.checks.distance.minimun=1", "scoring.checks.distance.minimun", "minimum"),
            ("training_set.split.evaluaton=3d", "training_set.split.evaluaton", "evaluation"),
            ("release.gates.auc.at_lest=0.7", "release.gates.auc.at_lest", "at_least"),
            ("features.planes.features.seats={type: double, typ: double}", "features.planes.features.seats.typ", "type"),
        ],
    )
    def test_an_unknown_key_is_answered_at_any_depth(self, override: str, key: str, meant: str) -> None:
        """Below names and list indexes, and inside each form of a value; the path holds what stands in the file and nothing else."""
        with pytest.raises(ConfigurationError) as caught:
            load(FLIGHTS, "flights", overrides=(override,))

        assert f"the unknown key --set {override.partition('=')[0]}: {key} (did you mean `{meant}`?)" in caught.value.found
        assert "Input should be" not in caught.value.found

    def test_a_wrong_value_of_one_form_is_told_in_the_words_of_that_form(self) -> None:
        """A feature is a type or a map: nobody who misspells the type is asked for a map."""
        with pytest.raises(ConfigurationError) as caught:
            load(FLIGHTS, "flights", overrides=("features.planes.features.seats=duble",))

        assert "features.planes.features.seats = 'duble' (found the type 'duble' (did you mean `double`?)" in caught.value.found
        assert "FeatureDeclaration" not in caught.value.found

    def test_a_missing_key_names_the_file_of_its_section(self, conf: Path) -> None:
        """Not `default`, where nobody can add it."""
        (conf / "projects" / "shop" / "sources.yaml").write_text("sources: {orders: {table: orders}}\n")

        with pytest.raises(ConfigurationError, match=r"conf/projects/shop/sources\.yaml: sources\.orders\.event_time \(Field required\)"):
            load(conf, "shop")

    def test_an_unknown_section_is_an_error(self, conf: Path) -> None:
        """The top of the configuration is closed too."""
        (conf / "projects" / "shop" / "x.yaml").write_text("trainning: {}\n")

        with pytest.raises(ConfigurationError, match="did you mean `training`"):
            load(conf, "shop")

    def test_a_wrong_value_names_the_override(self, conf: Path) -> None:
        """The origin of a fault may be the command line."""
        with pytest.raises(ConfigurationError, match=r"--set training.epochs: training\.epochs = 'none'"):
            load(conf, "shop", overrides=("training.epochs=none",))

    def test_an_unknown_project_names_the_known_ones(self, conf: Path) -> None:
        """A wrong project ends before anything else."""
        with pytest.raises(ConfigurationError, match=r"no project 'shup' \(did you mean `shop`\?\).*\['shop'\]"):
            load(conf, "shup")

    def test_a_canary_and_a_shadow_of_one_slot_are_refused(self, conf: Path) -> None:
        """The shadow's pass would replace the canary's rows."""
        canary = "rollout.canary={version: newest, entity: [tailnum], salt: one, share: 0.1, slot: canary}"
        with pytest.raises(ConfigurationError, match="the slot `canary` for the canary and for a shadow: give each one of its own"):
            load(conf, "shop", overrides=(canary, "rollout.shadows.canary=2"))

    def test_an_override_without_equals_is_refused(self, conf: Path) -> None:
        """`--set` takes key=value."""
        with pytest.raises(ConfigurationError, match="expected key=value"):
            load(conf, "shop", overrides=("training.epochs",))

    def test_a_password_in_an_address_is_refused_and_not_shown(self, conf: Path) -> None:
        """Secrets are references."""
        with pytest.raises(ConfigurationError, match="secret://env/NAME") as caught:
            load(conf, "shop", overrides=("mlflow.tracking_uri=postgresql://me:hunter2@db/mlflow",))
        assert "hunter2" not in str(caught.value)

    def test_origin_names_the_layer_of_each_key(self, conf: Path) -> None:
        """`config show --origin` can be trusted."""
        rows = {key: origin for key, _, origin in load(conf, "shop", overrides=("training.seed=9",)).rows()}

        assert rows["spark.conf.a"] == "conf/base.yaml"
        assert rows["spark.conf.b"] == "conf/env/local.yaml"
        assert rows["training.epochs"] == "conf/projects/shop/training.yaml"
        assert rows["training.seed"] == "--set training.seed"
        assert rows["training.dtype"] == "default"

    def test_how_a_training_is_run_does_not_change_its_hash(self, conf: Path) -> None:
        """The result does not depend on the number of workers, so neither does its identity."""
        before = load(conf, "shop").hash("training")

        run = ("training.workers=3", "training.collectives.fusion_mib=8", "training.collectives.cycle_ms=5", "training.collectives.timeline=true")
        assert load(conf, "shop", overrides=run).hash("training") == before
        assert load(conf, "shop", overrides=("training.collectives.compression=bf16",)).hash("training") != before
        assert load(conf, "shop", overrides=("training.seed=8",)).hash("training") != before

    def test_a_promise_of_freshness_does_not_change_the_hash_of_finished_work(self) -> None:
        """Who watches a table closer from now on has not made its rows wrong."""
        watched = ("features.planes.freshness=3d", "scoring.freshness=5d", "scoring.window=day")
        before = load(FLIGHTS, "flights").hash("features", "scoring")

        assert load(FLIGHTS, "flights", overrides=watched).hash("features", "scoring") == before
        assert load(FLIGHTS, "flights", overrides=("features.planes.ttl=3d",)).hash("features", "scoring") != before
        assert load(FLIGHTS, "flights", overrides=("scoring.allow_empty=true",)).hash("features", "scoring") != before


class TestDocument:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a: 1\na: 2\n", "'a' twice"),
            ("a: &x [1]\nb: *x\n", "an alias"),
            ("- 1\n", "a list at the top"),
            ("a: [\n", "no valid YAML"),
            ("a: !!python/object/apply:os.system ['true']\n", "no valid YAML"),
        ],
    )
    def test_unsafe_or_unclear_yaml_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        """A repeated key, an alias, a tag that runs code: none of them gets in."""
        path = tmp_path / "x.yaml"
        path.write_text(text)

        with pytest.raises(ConfigurationError, match=message):
            read_document(path)


class TestMerge:
    @given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1), max_leaves=8))
    def test_a_layer_over_nothing_is_itself(self, layer: object) -> None:
        """Merging has an empty element."""
        merged = Merged()
        merged.add({"top": layer}, "one")

        assert merged.values == {"top": layer}

    def test_lists_replace_and_null_clears(self) -> None:
        """The two exceptions to merging."""
        merged = Merged()
        merged.add({"a": [1, 2], "b": {"c": 1}}, "one")
        merged.add({"a": [3], "b": None}, "two")

        assert merged.values == {"a": [3], "b": None}
        assert merged.origin(("b", "c")) == "two"


class TestSecret:
    def test_a_reference_is_looked_up_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The value comes from the environment."""
        monkeypatch.setenv("STORE_URI", "sqlite:////x.db")

        assert reveal("secret://env/STORE_URI") == "sqlite:////x.db"

    def test_a_missing_one_names_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The mend is in the message."""
        monkeypatch.delenv("STORE_URI", raising=False)

        with pytest.raises(ConfigurationError, match="set STORE_URI"):
            reveal("secret://env/STORE_URI")

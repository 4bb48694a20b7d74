from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from feature_store.declaration import TrainingSetDeclaration
from sparkml_ops.config.training import TrainingSection


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"worker": 2}, "Extra inputs"),
        ({"workers": 9, "shards": 8}, "workers=9 above training.shards=8"),
        ({"workers": 2, "backend": "local"}, "backend local"),
        ({"dtype": "half"}, "float32"),
        ({"replicates": 12}, "200"),
        ({"replicates": 202}, "multiple of 4"),
        ({"model": {"dropout": 1.0}}, "less than 1"),
        ({"optimizer": {"momentum": 0.5}}, "momentum has no meaning with kind adamw and schedule cosine"),
        ({"optimizer": {"kind": "sgd", "every": 3}}, "every has no meaning with kind sgd and schedule cosine"),
        ({"collectives": {"compression": "int8"}}, "'none', 'fp16' or 'bf16'"),
        ({"backend": "ddp", "collectives": {"timeline": True}}, "timeline with backend ddp"),
        ({"checkpoint_every": 5, "collectives": {"local_steps": 2}}, "no multiple of collectives.local_steps=2"),
        ({"collectives": {"local_steps": 2, "compression": "fp16"}}, "compression with local_steps=2"),
        ({"sites": True}, "sites with collectives.local_steps=1"),
        ({"sites": True, "workers": 3, "collectives": {"local_steps": 5}}, "batch_size=1024 with sites on 3 workers"),
        ({"class_weights": (1.0, 0.0)}, "greater than 0"),
        ({"model": {"crosses": [{"columns": ("a", "b")}]}}, "crosses has no meaning with kind mlp"),
        ({"hashed": {"a": 0}}, "greater than or equal to 1"),
        ({"model": {"kind": "module"}}, "name an entry point with kind module"),
        ({"model": {"module": "gated"}}, "name an entry point with kind module"),
        ({"model": {"kind": "module", "module": "gated", "hidden": (4,)}}, "hidden has no meaning with kind module"),
        ({"task": "ranking"}, "'binary', 'regression'"),
        ({"quantiles": (0.1, 0.9)}, "quantiles has no meaning with task binary"),
        ({"task": "quantile", "quantiles": (0.9, 0.1)}, "expected levels that rise"),
        ({"task": "quantile", "quantiles": (0.5, 1.0)}, "above 0 and below 1"),
        ({"task": "regression", "class_weights": "balanced"}, "class_weights=balanced has no meaning with task regression"),
        ({"task": "multiclass", "class_weights": (1.0, 2.0)}, "has no meaning with task multiclass"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], found: str) -> None:
    """Before Spark starts."""
    with pytest.raises(ValidationError, match=found):
        TrainingSection(**values)


def test_the_local_backend_needs_no_number_of_workers() -> None:
    """The default of two is for backends with ranks."""
    assert TrainingSection(backend="local").workers == 2


def shown_in(guide: str) -> dict[str, Any]:
    """The configuration in a guide."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[3] / "docs" / "guides" / guide).read_text(), re.DOTALL)
    return dict(yaml.safe_load(block))


def test_the_guide_to_gpus_names_settings_that_are_known() -> None:
    """What it shows of the configuration is accepted as it stands."""
    shown = TrainingSection(**shown_in("gpu.md")["training"])

    assert (shown.device, shown.dtype, shown.workers) == ("gpu", "bfloat16", 8)


def test_the_guide_to_sites_names_settings_that_are_known() -> None:
    """What it shows of the configuration is accepted as it stands."""
    shown = shown_in("train_across_sites.md")
    training, examples = TrainingSection(**shown["training"]), TrainingSetDeclaration(**shown["training_set"])

    assert (training.sites, training.collectives.local_steps, examples.site) == (True, 50, "hospital")
    assert set(training.exclude) == {*examples.row_key, examples.site}

"""Our optimisers are torch's, and a training never loads torch's compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparkml_ops.training.optimizer import SGD, AdamW

PROGRAM = """
import sys
from pathlib import Path
import sparkml_ops.training.loop
assert not {"pyspark", "deltalake", "sqlglot", "mlflow", "scipy", "sklearn"} & set(sys.modules)
from training_rows import ThreadGroup, table, task, write
from sparkml_ops.config.training import TrainingSection
from sparkml_ops.storage import Storage

folder = Path(sys.argv[1])
scan = write(folder / "t", table(300), [300], group=150)
for kind in ("adamw", "sgd"):
    settings = TrainingSection(workers=1, epochs=2, batch_size=100, shards=2, accumulate=2, optimizer={"kind": kind, "clip_norm": 1.0})
    ThreadGroup(1).run(task(scan, Storage(str(folder / kind)), settings))
assert "torch" in sys.modules
assert "torch._dynamo" not in sys.modules
"""


def trained(kind: type[torch.optim.Optimizer], called: list[str]) -> tuple[list[torch.Tensor], dict[str, object]]:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    momentum = {} if issubclass(kind, torch.optim.AdamW) else {"momentum": 0.9}
    optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1, **momentum)
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    for step in range(6):
        optimizer.zero_grad()
        model(torch.randn(16, 5)).square().mean().backward()
        optimizer.step()
        if step == 3:  # what a checkpoint does
            optimizer.load_state_dict(optimizer.state_dict())
    return list(model.parameters()), optimizer.state_dict()


@pytest.mark.parametrize(("kind", "known"), [(AdamW, torch.optim.AdamW), (SGD, torch.optim.SGD)])
def test_steps_state_and_hooks_are_those_of_torch(kind: type[torch.optim.Optimizer], known: type[torch.optim.Optimizer]) -> None:
    """To the last bit, a restored state in between."""
    ours, theirs = list[str](), list[str]()
    (weights, state), (expected, wanted_state) = trained(kind, ours), trained(known, theirs)

    assert all(torch.equal(found, wanted) for found, wanted in zip(weights, expected, strict=True))
    assert str(state) == str(wanted_state)
    assert ours == theirs == ["before", "after"] * 6


def test_a_training_loads_no_compiler(tmp_path: Path) -> None:
    """It would take each rank five seconds of CPU time; checkpoints, validation and dropout included. Nor does a rank load what the driver needs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [AdamW, SGD])
@pytest.mark.parametrize("name", ["add_param_group", "zero_grad", "state_dict", "load_state_dict", "step"])
def test_what_is_called_is_torch_s_own_code(kind: type[torch.optim.Optimizer], name: str) -> None:
    """A release of torch that no longer wraps it changes nothing."""
    assert callable(getattr(kind, name))
    assert getattr(kind, name).__module__.startswith("torch.optim")

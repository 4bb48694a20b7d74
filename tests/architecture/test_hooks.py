"""Every hook in the source is one that the kill tests kill at, or one that `train` and `score` do not pass."""

from __future__ import annotations

from pathlib import Path

from hook_names import BY_TABLE, ELSEWHERE, PASSED, RESUMED, STAGED, hooks_in

ROOT = Path(__file__).resolve().parents[2]


def test_every_hook_has_its_kill_or_a_reason() -> None:
    """A new commit, MLflow call or published object is a new case in tests/hook_names.py: passed by the tiny project, or exempt with the reason."""
    found = hooks_in(ROOT / "feature_store") | hooks_in(ROOT / "sparkml_ops")
    killed = {BY_TABLE.get(name, name) for names in (*PASSED.values(), *RESUMED.values()) for name in names} | {*STAGED.values()}

    assert not {name: place for name, place in found.items() if name not in killed | ELSEWHERE.keys()}
    assert not (killed | ELSEWHERE.keys()) - found.keys()
    assert not killed & ELSEWHERE.keys()


def test_only_these_calls_pass_a_hook_whose_name_the_source_does_not_say() -> None:
    """The list above is read from their callers: a further one would hide the names that it makes."""
    made = [
        (path.relative_to(ROOT).as_posix(), line.strip())
        for package in ("feature_store", "sparkml_ops")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in path.read_text().splitlines()
        if "hooks.passing(" in line and 'passing("' not in line
    ]

    assert made == [
        ("feature_store/delta/tables.py", 'with hooks.passing(f"delta.create.{parse_table(name)}"):'),
        ("feature_store/delta/tables.py", 'with hooks.passing(f"delta.commit.{parse_table(name)}"):'),
        ("feature_store/delta/upkeep.py", 'with hooks.passing(f"delta.upkeep.{parse_table(name)}"), self._tables._session(settings):'),
        ("sparkml_ops/storage.py", 'with hooks.passing(f"storage.publish.{kind}"):'),
        ("sparkml_ops/storage.py", 'with hooks.passing(f"storage.publish.{kind}"):'),
        ("sparkml_ops/tracking/store.py", "with hooks.passing(hook) if hook else nullcontext():"),
    ]

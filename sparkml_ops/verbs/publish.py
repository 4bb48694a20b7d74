"""`predictions publish`: another table of predictions becomes the one that consumers read, or the one before it again."""

from __future__ import annotations

from datetime import datetime

from sparkml_ops import clock
from sparkml_ops.errors import ContractError
from sparkml_ops.scoring import serving
from sparkml_ops.scoring.serving import Candidate, Publication
from sparkml_ops.verbs import training_set
from sparkml_ops.verbs.work import Work

__all__ = ["back", "look", "publish"]


def look(work: Work, target: str) -> Candidate:
    """How a target compares with what is read now; writes nothing.

    Raises:
        TableNotFound: There is no such target.
    """
    work.check()
    return serving.candidate(work.tables, target, _now(work), training_set.declaration(work).row_key)


def publish(work: Work, target: str, *, actor: str = "", as_of: datetime | str | None = None) -> Publication:
    """Let consumers read a target, when it holds all that they read now; the same again is no move.

    Raises:
        ContractError: It lacks windows or rows, or has too many in quarantine.
        ConflictError: Another move at the same time.
    """
    moves = serving.publications(work.tables, work.config.project)
    if moves and moves[-1].to_target == target:
        return moves[-1]
    settings = work.sections.scoring
    look(work, target).check(settings.max_quarantine_share, work.sections.rollout.most_missing)
    return _move(work, moves, target, "publish", actor, as_of)


def back(work: Work, *, actor: str = "", as_of: datetime | str | None = None) -> Publication:
    """Let consumers read again what they read before the last publication.

    Raises:
        ContractError: There is none, or the table is gone.
    """
    moves = serving.publications(work.tables, work.config.project)
    held: list[str] = []
    for item in moves:
        held = held[:-1] if item.reason == "back" else [*held, item.to_target]
    before = held[-2] if len(held) > 1 else work.sections.scoring.target if held else None
    if before is None or before == held[-1]:
        raise ContractError(
            "nothing that was published before", expected="a publication to go back from", mend="`predictions publish TARGET` makes one"
        )
    work.tables.newest(before)
    return _move(work, moves, before, "back", actor, as_of)


def _move(work: Work, moves: tuple[Publication, ...], target: str, reason: str, actor: str, as_of: datetime | str | None) -> Publication:
    project = work.config.project
    made = Publication(project, len(moves) + 1, _now(work), target, clock.resolve(as_of), "back" if reason == "back" else "publish", actor)
    serving.move(work.tables, made)
    return made


def _now(work: Work) -> str | None:
    """What is read now: the project's own target before the first publication, where it is there."""
    found = serving.published(work.tables, work.config.project, work.sections.scoring.target)
    return found if work.tables.exists(found) else None

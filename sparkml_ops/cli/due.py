"""`sparkml-ops score --due`: one record a window, as each is done."""

from __future__ import annotations

from sparkml_ops.cli.options import Common, show

__all__ = ["score_due"]


def score_due(common: Common, *, slot: str, since: str | None, as_of: str | None, plan: bool) -> None:
    """Score the windows that were missed, oldest first, up to the first that fails; its error is the command's.

    Args:
        slot: Role under which predictions are stored.
        since: First window to look at.
        as_of: The clock of all of them.
        plan: Only show what would be read and written.
    """
    from sparkml_ops.verbs import due

    work = common.work()
    if plan:
        for planned in due.plan(work, slot=slot, since=since, as_of=as_of):
            show(common, planned)
        return
    for scored in due.perform(work, slot=slot, since=since, as_of=as_of):
        show(common, scored)

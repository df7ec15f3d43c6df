"""What planning says while it runs, in words: for the console's bar and for the log in Dagster's web UI."""

from __future__ import annotations

from collections.abc import Callable

from imrt_core.optimize import PlanProgress

#: Iterations between two lines of a log.
_LINE_EVERY = 20


def words_of(progress: PlanProgress) -> str:
    """Return one line: stage, and of the optimiser round, iteration, objective and goals met."""
    if not progress.iteration:
        return progress.stage
    words = f"{progress.stage}, round {progress.round}, iteration {progress.iteration}, {progress.objective:.4g}"
    if progress.goals_met is not None:
        words += f", goals met {progress.goals_met} of {progress.goals}"
    return words


def told_to(say: Callable[[str], None]) -> Callable[[PlanProgress], None]:
    """Return a callback that says every stage, and every twentieth iteration."""

    def tell(progress: PlanProgress) -> None:
        if progress.iteration % _LINE_EVERY == 0:
            say(words_of(progress))

    return tell

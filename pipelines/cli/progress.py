"""Progress on stderr: what is being done, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .output import console


@contextmanager
def stages_shown(title: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner with the present stage; on a stream that is no terminal, one line per stage.

    Yields
    ------
    callable
        To be told the name of each stage.
    """
    if not console.is_terminal:
        yield lambda stage: console.print(f"{title}: {stage}", highlight=False)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title)
        yield lambda stage: progress.update(task, description=f"{title}: {stage.replace('_', ' ')}")

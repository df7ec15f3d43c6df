"""Who did what when, as the report shows it."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.report.parts import (
    AuditEntry,
)

from ..ledger.tables import Event


def audit(events: Iterable[Event]) -> tuple[AuditEntry, ...]:
    """Return who did what when, from the ledger."""
    return tuple(AuditEntry(when=e.when, who=e.who, what=_words(e)) for e in events)


def _words(event: Event) -> str:
    what = event.kind.replace("-", " ")
    if event.kind not in ("plan-approved", "plan-rejected"):
        return what
    what += f" by {event.details.get('by')}: {event.details.get('reason')}"
    overridden = event.details.get("override_mu_check")
    return f"{what}; independent MU check overridden: {overridden}" if overridden else what

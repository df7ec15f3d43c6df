"""Who did what when, as the report shows it."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.report.parts import (
    AuditEntry,
)

from ..ledger.tables import Event


def audit(events: Iterable[Event]) -> tuple[AuditEntry, ...]:
    """Return who did what when, from the ledger."""
    return tuple(AuditEntry(when=e.when, who=e.who, what=e.kind.replace("-", " ")) for e in events)

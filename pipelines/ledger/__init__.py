"""SQL records of courses, fractions, files, versions and events."""

from .ledger import FractionRow, Ledger, open_ledger

__all__ = ["FractionRow", "Ledger", "open_ledger"]

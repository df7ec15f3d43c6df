"""Refusals without the identity of patients: for logs, the ledger and Dagster's event log."""

from __future__ import annotations

from imrt_core.patient import InputRefusedError

#: Codes of refusals whose found and expected values name patients.
_NAMING = ("wrong-patient",)


def without_identity(error: InputRefusedError) -> InputRefusedError:
    """Return a refusal whose values name nobody; most do not, and come back as they are."""
    if error.code not in _NAMING:
        return error
    return type(error)(
        error.message, found="another patient id", expected="one patient", where=error.where, code=error.code
    )

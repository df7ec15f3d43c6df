"""Errors that name what was found, what was expected, and where.

Every refusal of input in the project is an :class:`InputRefusedError`; the command line turns it into exit code 3
and, under ``--json``, into ``{"error": {"code", "message", "found", "expected", "where"}}``.
"""

from __future__ import annotations


class IgrtError(Exception):
    """Base class of every error that this project raises on purpose."""


class InputRefusedError(IgrtError):
    """Input that must not be used.

    Parameters
    ----------
    message : str
        One sentence for a person.
    code : str
        Short stable identifier, for example ``"missing-slices"``.
    found, expected : str
        What the input holds, and what it should have held.
    where : str
        File, folder, structure or attribute at fault.
    """

    default_code = "input-refused"

    def __init__(
        self,
        message: str,
        *,
        found: str = "",
        expected: str = "",
        where: str = "",
        code: str | None = None,
    ) -> None:
        self.message = message
        self.found = found
        self.expected = expected
        self.where = where
        self.code = code or self.default_code
        parts = [message]
        if found:
            parts.append(f"found {found}")
        if expected:
            parts.append(f"expected {expected}")
        if where:
            parts.append(f"in {where}")
        super().__init__("; ".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders (Dagster executors); keyword-only arguments need this.
        return (_rebuild, (type(self), self.message, self.found, self.expected, self.where, self.code))

    def as_dict(self) -> dict[str, str]:
        """Return the five fields of the command-line contract."""
        return {
            "code": self.code,
            "message": self.message,
            "found": self.found,
            "expected": self.expected,
            "where": self.where,
        }


def _rebuild(
    kind: type[InputRefusedError], message: str, found: str, expected: str, where: str, code: str
) -> InputRefusedError:
    return kind(message, found=found, expected=expected, where=where, code=code)


class GeometryError(InputRefusedError):
    """A grid, transform or contour that is not valid geometry."""

    default_code = "invalid-geometry"


class DicomError(InputRefusedError):
    """A DICOM object or series that cannot be used."""

    default_code = "invalid-dicom"


class IdentityError(InputRefusedError):
    """Patient, frame of reference or object references that do not belong together."""

    default_code = "identity-mismatch"


class StructureError(InputRefusedError):
    """A structure that is missing, empty or not where it must be."""

    default_code = "structure-unusable"


class PlanError(InputRefusedError):
    """A treatment plan that cannot be used or computed."""

    default_code = "plan-unusable"


class MachineError(InputRefusedError):
    """A machine file or beam model that is missing or inconsistent."""

    default_code = "machine-unusable"


class ProtocolError(InputRefusedError):
    """A clinical protocol that is inconsistent, or goals that name no structure."""

    default_code = "protocol-unusable"


class RegistrationError(InputRefusedError):
    """Images that cannot be registered."""

    default_code = "registration-failed"

"""Structures in a protocol: names, how they are made of others, how they follow the patient, their density."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from imrt_core.geometry.contraction import SideMargins
from imrt_core.geometry.made_structures import Combination, Making, Ring, StructureRecipe, WithMargin
from imrt_core.geometry.structure_expression import parse_expression

Distance = Annotated[float, Field(ge=0, le=200)]


#: RT ROI Interpreted Type of what is made and is no target.
MADE_TYPE = "AVOIDANCE"


class Rule(BaseModel):
    """Base of all parts of a protocol: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SidesRule(Rule):
    """A margin for each side of the patient, mm; a side that is not named has none."""

    left: Distance = 0.0
    right: Distance = 0.0
    anterior: Distance = 0.0
    posterior: Distance = 0.0
    superior: Distance = 0.0
    inferior: Distance = 0.0


class StructureRule(Rule):
    """How a structure is named, made, propagated.

    At most one of ``prv_of``, ``expand_of``, ``contract_of``, ``ring_of`` and ``combine`` says how the structure is
    made where it is not contoured; see :mod:`imrt_core.geometry.made_structures`.

    Parameters
    ----------
    aliases : tuple of str
        Other names, compared without case, blanks, underscores and hyphens.
    propagate : str or None
        ``"rigid"`` or ``"deformable"``; None: by type (targets rigid, organs deformable).
    prv_of, expand_of, contract_of : str or None
        The structure that a planning-risk volume surrounds, that another is grown from, or shrunk from, by
        ``margin_mm``.
    margin_mm : float or SidesRule
        One margin, or one for each of ``left``, ``right``, ``anterior``, ``posterior``, ``superior``, ``inferior`` of
        the patient.
    ring_of : str or None
        What lies between ``inner_mm`` and ``outer_mm`` from that structure, within EXTERNAL.
    combine : str or None
        Boolean expression, e.g. ``PTV63 - PTV70`` (:mod:`imrt_core.geometry.structure_expression`).
    yields_to : tuple of str
        Where structures overlap, these win: they are taken from the structure that is made, with ``gap_mm`` around.
    relative_electron_density, relative_mass_density : float or None
        Density relative to water in place of the image's, e.g. for contrast medium; a density in the structure set
        goes before it.
    """

    aliases: tuple[str, ...] = ()
    propagate: Literal["rigid", "deformable"] | None = None
    prv_of: str | None = None
    expand_of: str | None = None
    contract_of: str | None = None
    margin_mm: Distance | SidesRule = 0.0
    ring_of: str | None = None
    inner_mm: Distance = 0.0
    outer_mm: Distance | None = None
    combine: str | None = None
    yields_to: tuple[str, ...] = ()
    gap_mm: Distance = 0.0
    relative_electron_density: Annotated[float, Field(ge=0, le=25)] | None = None
    relative_mass_density: Annotated[float, Field(ge=0, le=25)] | None = None

    @model_validator(mode="after")
    def _one_way_to_make_it(self) -> StructureRule:
        ways = ("prv_of", "expand_of", "contract_of", "ring_of", "combine")
        made = [way for way in ways if getattr(self, way) is not None]
        if len(made) > 1:
            raise ValueError(f"a structure is made in one way, not by {' and '.join(made)}")
        given = self.model_fields_set
        wrong = {
            "margin_mm": not set(made) & {"prv_of", "expand_of", "contract_of"},
            "inner_mm": made != ["ring_of"],
            "outer_mm": made != ["ring_of"],
            "yields_to": not made,
            "gap_mm": not self.yields_to,
        }
        if idle := [key for key, useless in wrong.items() if key in given and useless]:
            raise ValueError(f"{', '.join(idle)}: nothing is made with it")
        if self.ring_of is not None and (self.outer_mm is None or self.outer_mm <= self.inner_mm):
            raise ValueError(f"a ring needs inner_mm < outer_mm, found {self.inner_mm:g} and {self.outer_mm}")
        return self

    @property
    def margin(self) -> SideMargins:
        """The margin on each side."""
        if isinstance(self.margin_mm, SidesRule):
            return SideMargins(**{f"{side}_mm": value for side, value in self.margin_mm.model_dump().items()})
        return SideMargins.uniform(self.margin_mm)

    @property
    def grown_from(self) -> str | None:
        """The structure that this one is a margin around, and nothing is taken from; None otherwise."""
        return None if self.yields_to else self.prv_of or self.expand_of

    def recipe(self, name: str, names: Collection[str], *, interpreted_type: str = MADE_TYPE) -> StructureRecipe | None:
        """Return how the structure is made; None if the protocol does not say.

        Parameters
        ----------
        name : str
            Protocol name of the structure.
        names : collection of str
            Names that an expression may hold.
        interpreted_type : str
            ``"PTV"`` or ``"CTV"`` where the protocol has it among its targets.

        Raises
        ------
        ProtocolError
            If the expression cannot be read.
        """
        making: Making
        if self.combine is not None:
            making = Combination(parse_expression(self.combine, names), self.combine)
        elif self.ring_of is not None and self.outer_mm is not None:
            making = Ring(self.ring_of, self.inner_mm, self.outer_mm)
        elif (grown := self.prv_of or self.expand_of) is not None:
            making = WithMargin(grown, self.margin)
        elif self.contract_of is not None:
            making = WithMargin(self.contract_of, self.margin, inwards=True)
        else:
            return None
        return StructureRecipe(
            name=name,
            making=making,
            yields_to=self.yields_to,
            gap_mm=self.gap_mm,
            interpreted_type=interpreted_type,
        )

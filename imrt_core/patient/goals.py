"""Clinical goals and the dose-volume metrics they name (TG-263 style, e.g. ``D95%[Gy]``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .errors import ProtocolError

_NUMBER = r"\d+(?:\.\d+)?"
_METRIC = re.compile(
    rf"^(?:(?P<stat>Mean|Max|Min)\[(?P<stat_unit>Gy|%)\]"
    rf"|D(?P<volume>{_NUMBER})(?P<volume_unit>%|cc)\[(?P<dose_out>Gy|%)\]"
    rf"|V(?P<dose>{_NUMBER})(?P<dose_unit>Gy|%)\[(?P<volume_out>%|cc)\]"
    rf"|Volume\[cc\])$"
)
_GOAL = re.compile(
    rf"^(?P<structure>.+?)\s+(?P<metric>\S+\[[^\]]+\])\s*(?P<comparison><=|>=|<|>)\s*(?P<limit>{_NUMBER})"
    r"(?:\s*\((?:(?P<hard>hard)(?:,\s*priority\s+(?P<hard_priority>\d+))?|priority\s+(?P<priority>\d+))\))?$"
)


class MetricKind(StrEnum):
    """What a metric measures."""

    MEAN = "Mean"
    MAX = "Max"
    MIN = "Min"
    DOSE_AT_VOLUME = "D"
    VOLUME_AT_DOSE = "V"
    VOLUME = "Volume"


@dataclass(frozen=True)
class Metric:
    """A dose-volume metric.

    Parameters
    ----------
    kind : MetricKind
        What is measured.
    at : float
        For D: the volume; for V: the dose; otherwise 0.
    at_unit : str
        ``"%"`` or ``"cc"`` for D; ``"Gy"`` or ``"%"`` (of prescription) for V.
    unit : str
        Unit of the value: ``"Gy"``, ``"%"`` (of prescription for doses, of the structure for volumes) or ``"cc"``.
    """

    kind: MetricKind
    unit: str
    at: float = 0.0
    at_unit: str = ""

    @classmethod
    def parse(cls, text: str) -> Metric:
        """Read ``D95%[Gy]``, ``V60Gy[%]``, ``D0.03cc[Gy]``, ``Mean[Gy]``, ``Max[Gy]``, ``Volume[cc]``.

        Raises
        ------
        ProtocolError
            If the text is no such metric.
        """
        match = _METRIC.match(text.strip())
        if not match:
            raise ProtocolError(
                "unknown dose-volume metric",
                found=text,
                expected="e.g. D95%[Gy], V60Gy[%], D0.03cc[Gy], Mean[Gy]",
            )
        if match["stat"]:
            return cls(MetricKind(match["stat"]), match["stat_unit"])
        if match["volume"]:
            if match["volume_unit"] == "%" and float(match["volume"]) > 100:
                raise ProtocolError("a volume cannot exceed 100 %", found=text)
            return cls(MetricKind.DOSE_AT_VOLUME, match["dose_out"], float(match["volume"]), match["volume_unit"])
        if match["dose"]:
            return cls(MetricKind.VOLUME_AT_DOSE, match["volume_out"], float(match["dose"]), match["dose_unit"])
        return cls(MetricKind.VOLUME, "cc")

    def __str__(self) -> str:
        at = f"{self.at:g}{self.at_unit}" if self.at_unit else ""
        return f"{self.kind.value}{at}[{self.unit}]"


@dataclass(frozen=True)
class Goal:
    """A limit on a metric of a structure, judged in course scale.

    Parameters
    ----------
    structure : str
        Protocol name of the structure.
    metric : Metric
        What is judged.
    comparison : str
        ``"<"``, ``"<="``, ``">"`` or ``">="``.
    limit : float
        In the metric's unit.
    hard : bool
        A breach is plan failure, and one day's excess may trigger re-optimisation.
    priority : int or None
        1 is pursued first, and what it reached is given up for no later one; None comes after all numbers.
    """

    structure: str
    metric: Metric
    comparison: str
    limit: float
    hard: bool = False
    priority: int | None = None

    def __post_init__(self) -> None:
        if self.priority is not None and self.priority < 1:
            raise ProtocolError("priorities begin at 1", found=str(self.priority), where=f"goal of {self.structure}")

    @classmethod
    def parse(cls, text: str) -> Goal:
        """Read ``PTV70 V70Gy[%] >= 95``, ``SpinalCord D0.03cc[Gy] <= 45 (hard)`` or one with ``(hard, priority 1)``.

        Raises
        ------
        ProtocolError
            If the text is no such goal.
        """
        match = _GOAL.match(text.strip())
        if not match:
            raise ProtocolError(
                "unreadable goal",
                found=text,
                expected="STRUCTURE METRIC[unit] (<|<=|>|>=) LIMIT, then (hard), (priority N) or (hard, priority N)",
            )
        priority = match["priority"] or match["hard_priority"]
        return cls(
            structure=match["structure"],
            metric=Metric.parse(match["metric"]),
            comparison=match["comparison"],
            limit=float(match["limit"]),
            hard=bool(match["hard"]),
            priority=int(priority) if priority else None,
        )

    def __str__(self) -> str:
        remarks = ["hard"] if self.hard else []
        remarks += [f"priority {self.priority}"] if self.priority is not None else []
        remark = f" ({', '.join(remarks)})" if remarks else ""
        return f"{self.structure} {self.metric} {self.comparison} {self.limit:g}{remark}"

    @property
    def is_upper(self) -> bool:
        """Whether the value must stay below the limit."""
        return self.comparison.startswith("<")

    def is_met(self, value: float) -> bool:
        """Whether a value satisfies the goal. NaN never does."""
        match self.comparison:
            case "<":
                return value < self.limit
            case "<=":
                return value <= self.limit
            case ">":
                return value > self.limit
            case _:
                return value >= self.limit

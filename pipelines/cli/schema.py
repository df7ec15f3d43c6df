"""``python -m pipelines.cli.schema FOLDER``: JSON Schemas of everything that the program prints or stores as JSON."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from pydantic import BaseModel

from pipelines.report import CourseReport, FractionReport

from ..course_record import CourseRecord, DeliveryRecord, SetupRecord
from ..protocol import Protocol
from . import main  # noqa: F401  (defines the answer of every command)
from .output import Answer, ErrorAnswer


def models() -> dict[str, type[BaseModel]]:
    """Return every model by the name of its schema file."""
    answers = {_kebab(cls.__name__.removesuffix("Answer")): cls for cls in Answer.__subclasses__()}
    stored: dict[str, type[BaseModel]] = {
        "fraction-report": FractionReport,
        "course-report": CourseReport,
        "course-record": CourseRecord,
        "setup-record": SetupRecord,
        "delivery-record": DeliveryRecord,
        "protocol": Protocol,
        "error": ErrorAnswer,
    }
    return dict(sorted({**{f"answer-{name}": cls for name, cls in answers.items()}, **stored}.items()))


def schema_text(model: type[BaseModel]) -> str:
    """Return a model's JSON Schema as text."""
    mode = "serialization" if issubclass(model, Answer | ErrorAnswer) else "validation"
    return json.dumps(model.model_json_schema(mode=mode), indent=1, sort_keys=True) + "\n"  # type: ignore[arg-type]


def write_schemas(folder: Path) -> None:
    """Write all schemas; files of models that are gone are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    found = models()
    for path in folder.glob("*.schema.json"):
        if path.name.removesuffix(".schema.json") not in found:
            path.unlink()
    for name, model in found.items():
        (folder / f"{name}.schema.json").write_text(schema_text(model), encoding="utf-8")


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.cli.schema import models, schema_text

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schema"


def test_there_is_one_file_per_model() -> None:
    assert {p.name.removesuffix(".schema.json") for p in FOLDER.glob("*.json")} == set(models())
    assert {"answer-demo", "answer-course", "answer-fraction", "answer-register", "answer-dvh", "error"} <= set(
        models()
    )


@pytest.mark.parametrize("name", sorted(models()))
def test_schemas_are_those_of_the_models(name: str) -> None:
    """Renew them with ``python -m pipelines.cli.schema docs/schema``."""
    stored = (FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert stored == schema_text(models()[name])
    if name.startswith("answer-") or name == "error":
        assert '"schema_version"' in stored

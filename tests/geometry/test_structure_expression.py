"""The grammar of structures made of others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.geometry.structure_expression import (
    Combined,
    Margined,
    Named,
    Operator,
    as_term,
    names_in,
    parse_expression,
)
from imrt_core.patient import ProtocolError

A, B, C = Named("A"), Named("B-2"), Named("Left Lung")
NAMES = ("A", "B-2", "Left Lung", "PTV (boost)", "A - B", "D-3mm")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", A),
        ("  Left Lung ", C),
        ("A - B-2", Combined(Operator.DIFFERENCE, (A, B))),
        ("A + Left Lung + B-2", Combined(Operator.UNION, (A, C, B))),
        ("A & B-2", Combined(Operator.INTERSECTION, (A, B))),
        ("A - B-2+5mm", Combined(Operator.DIFFERENCE, (A, Margined("B-2", 5.0)))),
        ("B-2-2.5mm", Margined("B-2", -2.5)),
        ("D-3mm", Named("D-3mm")),
        ("A - B", Named("A - B")),
        ('"PTV (boost)"+4mm & A', Combined(Operator.INTERSECTION, (Margined("PTV (boost)", 4.0), A))),
        ("(A + B-2) - Left Lung", Combined(Operator.DIFFERENCE, (Combined(Operator.UNION, (A, B)), C))),
        ("A-1mm - (B-2 & (A + A))", None),
    ],
)
def test_what_is_read(text: str, expected: object) -> None:
    read = parse_expression(text, NAMES)
    assert expected is None or read == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A + B-2 - A", r"mixed operators without brackets: '-' at column 9"),
        ("A - ", r"missing before: the end at column 5"),
        ("- A", r"missing before: '-' at column 1"),
        ("A - Heart", r"no such structure: 'Heart' at column 5"),
        ("A -B-2", r"no such structure: 'A -B-2' at column 1"),
        ("(A + B-2", r"bracket of column 1 is not closed before: the end"),
        ("A) - B-2", r"unexpected: '\)' at column 2"),
        ("A - ()", r"missing before: '\)' at column 6"),
        ('A - "B-2', r"quotation mark without its other: '\"' at column 5"),
        ("A (B-2)", r"unexpected: '\(' at column 3"),
        ("", r"missing before: the end at column 1"),
        ("(" * 40 + "A" + ")" * 40, r"more than 16 brackets"),
    ],
)
def test_faults_name_their_place(text: str, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        parse_expression(text, NAMES)


@given(st.text(max_size=30), st.text(max_size=30).filter(lambda name: '"' not in name and name.strip()))
def test_any_text_is_read_or_refused_and_any_name_can_be_written(text: str, name: str) -> None:
    try:
        assert set(names_in(parse_expression(text, NAMES))) <= set(NAMES)
    except ProtocolError as error:
        assert "column" in str(error)
    assert parse_expression(f"{as_term(name)} - A", (name, "A")) == Combined(Operator.DIFFERENCE, (Named(name), A))
    grown = Combined(Operator.DIFFERENCE, (A, Margined(name, 8.0)))
    assert parse_expression(f"A - {as_term(name)}+8mm", (name, "A")) == grown

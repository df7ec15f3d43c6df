"""Structures made of others, as text: union, intersection, difference and margins.

Grammar::

    expression = term { operator term }        one and the same operator; mixed ones need brackets
    operator   = " + " | " - " | " & "         union, difference, intersection; blanks on both sides
    term       = name [margin] | "(" expression ")"
    margin     = "+5mm" | "-3mm"               without a blank after the name: grown or shrunk on all sides
    name       = words without brackets, or anything in double quotes (``"PTV (boost)"+5mm``)

Operators stand between blanks because names hold hyphens (``PTV-boost - Rectum``). There is no precedence to remember:
``A + B - C`` is refused, ``(A + B) - C`` is not. ``A - B - C`` takes both B and C from A. A name of the structure set
is always read as that name before it is read as an expression or as a name with a margin.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from imrt_core.patient import ProtocolError

_MARGIN = re.compile(r"^(?P<name>.*\S)(?P<mm>[+-]\d+(?:\.\d+)?)mm$")
_TOKEN = re.compile(r'\s*(?:(?P<bracket>[()])|"(?P<quoted>[^"]*)"(?P<moved>[+-]\d+(?:\.\d+)?mm)?|(?P<word>[^\s()"]+))')
_DEEPEST = 16
_GRAMMAR = "'A + B', 'A - B', 'A & B' with blanks around the sign, 'A+5mm', brackets around mixed operators"


class Operator(StrEnum):
    """How structures are put together."""

    UNION = "+"
    DIFFERENCE = "-"
    INTERSECTION = "&"


@dataclass(frozen=True)
class Named:
    """A structure by its name."""

    name: str


@dataclass(frozen=True)
class Margined:
    """A structure grown (positive) or shrunk (negative) by a margin on all sides."""

    name: str
    margin_mm: float


@dataclass(frozen=True)
class Combined:
    """Two or more terms with one operator; a difference takes all others from the first."""

    operator: Operator
    terms: tuple[Expression, ...]


Expression = Named | Margined | Combined


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int
    margin_mm: float | None = None


def parse_expression(text: str, names: Collection[str]) -> Expression:
    """Read an expression.

    Parameters
    ----------
    text : str
        See the grammar of this module.
    names : collection of str
        Structures that may be named.

    Raises
    ------
    ProtocolError
        If it cannot be read or names another structure; the message says at which column.
    """
    if text.strip() in names:
        return Named(text.strip())
    reader = _Reader(text, names)
    expression = reader.expression(0)
    if reader.next is not None:
        raise reader.error("unexpected", reader.next)
    return expression


def names_in(expression: Expression) -> tuple[str, ...]:
    """Return the structures that an expression names, each once, in the order of reading."""
    if isinstance(expression, Combined):
        return tuple(dict.fromkeys(name for term in expression.terms for name in names_in(term)))
    return (expression.name,)


def as_term(name: str) -> str:
    """Return a structure's name as an expression may hold it: in quotes where it would not be read as one name."""
    words = name.split()
    plain = " ".join(words) == name and not set(name) & set('()"') and not set(words) & set(Operator)
    return name if plain else f'"{name}"'


class _Reader:
    """A reader that looks one token ahead."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text = text
        self.names = names
        self.tokens = self._tokens()
        self.place = 0

    @property
    def next(self) -> _Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def error(self, what: str, token: _Token | None, *, expected: str = _GRAMMAR) -> ProtocolError:
        where = f"'{token.text}' at column {token.column}" if token else f"the end at column {len(self.text) + 1}"
        return ProtocolError(
            "a structure expression cannot be read", found=f"{what}: {where} of '{self.text}'", expected=expected
        )

    def expression(self, depth: int) -> Expression:
        terms = [self._term(depth)]
        first = self.next
        if first is None or first.kind != "operator":
            return terms[0]
        while (token := self.next) is not None and token.kind == "operator":
            if token.text != first.text:
                raise self.error("mixed operators without brackets", token)
            self.place += 1
            terms.append(self._term(depth))
        return Combined(Operator(first.text), tuple(terms))

    def _term(self, depth: int) -> Expression:
        token = self.next
        if token is None or token.kind == "operator" or token.text == ")":
            raise self.error("a structure is missing before", token)
        self.place += 1
        if token.kind != "bracket":
            return self._structure(token)
        if depth >= _DEEPEST:
            raise self.error(f"more than {_DEEPEST} brackets within one another", token)
        inner = self.expression(depth + 1)
        closing = self.next
        if closing is None or closing.text != ")":
            raise self.error(f"the bracket of column {token.column} is not closed before", closing)
        self.place += 1
        return inner

    def _structure(self, token: _Token) -> Expression:
        if token.text in self.names:
            return Named(token.text) if token.margin_mm is None else Margined(token.text, token.margin_mm)
        match = _MARGIN.match(token.text) if token.kind == "name" else None
        if match and match["name"] in self.names:
            return Margined(match["name"], float(match["mm"]))
        known = ", ".join(sorted(self.names)) or "no structures"
        raise self.error("no such structure", token, expected=f"one of {known}; {_GRAMMAR}")

    def _tokens(self) -> list[_Token]:
        tokens: list[_Token] = []
        place, joins = 0, False
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None:
                column = place + len(self.text[place:]) - len(self.text[place:].lstrip()) + 1
                raise self.error("a quotation mark without its other", _Token("quote", '"', column))
            place = match.end()
            kind = next(name for name in ("bracket", "quoted", "word") if match[name] is not None)
            text, column = match[kind], match.start(kind) + 1
            margin_mm = float(match["moved"].removesuffix("mm")) if match["moved"] else None
            if kind == "word" and text not in tuple(Operator):
                # words beside one another are one name: "Left Lung"
                if joins:
                    tokens[-1] = _Token("name", f"{tokens[-1].text} {text}", tokens[-1].column)
                else:
                    tokens.append(_Token("name", text, column))
                joins = True
                continue
            joins = False
            tokens.append(_Token("operator" if kind == "word" else kind, text, column, margin_mm))
        return tokens

"""A decision's rules together: who it is for, and who is left out.

`Gate` is compiled once with the bundle. `within` narrows it to one combination of granted purposes: a rule that reads
what is not granted is not evaluated at all, and what is not granted is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrenous.features import Feature
from entrenous.targeting.closures import Rule, compile_rule
from entrenous.targeting.form import NOW, Variable, features_as_variables
from entrenous.targeting.supplied import Supplied

__all__ = ["Gate", "Narrowed", "compile_gate", "variables_of"]


def variables_of(schema: Iterable[Feature], context: Iterable[Supplied]) -> dict[str, Variable]:
    """Return what a bundle's rules may read: its features, and the context that is declared for rules."""
    return features_as_variables(schema) | {one.name: one.variable for one in context}


@dataclass(frozen=True, slots=True)
class Gate:
    """One decision's compiled rules, for every visitor.

    Attributes:
        targeting: who the decision is for, None for everyone. exclude: who is left out, None for nobody.
        columns: what the rules read of the feature vector: name, position, and a category's values.
        context: what they read of the context that rules alone read.
    """

    targeting: Rule | None
    exclude: Rule | None
    columns: tuple[tuple[str, int, tuple[str, ...]], ...]
    context: tuple[Supplied, ...]

    @property
    def purposes(self) -> frozenset[str]:
        """What must be granted for all that the rules read."""
        rules = (self.targeting, self.exclude)
        return frozenset[str]().union(*(rule.purposes for rule in rules if rule is not None))

    @property
    def reads(self) -> frozenset[str]:
        """The names of all that the rules read."""
        return frozenset(name for name, _, _ in self.columns) | {one.name for one in self.context}

    def within(self, granted: frozenset[str]) -> Narrowed:
        """Return the gate for visitors who granted these purposes: closed where a rule reads what they did not."""
        return Narrowed(self, is_open=granted >= self.purposes)


class Narrowed:
    """A gate for one combination of granted purposes.

    Attributes:
        purposes: those that its rules use: none where it is closed, since then nothing is read.
    """

    __slots__ = ("_at", "_columns", "_context", "_exclude", "_open", "_targeting", "purposes")

    def __init__(self, gate: Gate, *, is_open: bool) -> None:
        self._open = is_open
        self._targeting, self._exclude = gate.targeting, gate.exclude
        self._columns, self._context = gate.columns, gate.context
        self._at = {position: (name, values) for name, position, values in gate.columns}
        self.purposes = gate.purposes if is_open else frozenset[str]()

    def admits(
        self, head: Sequence[float], supplied: list[tuple[int, float]], context: Mapping[str, Any] | None, now: int
    ) -> bool:
        """Say whether the decision is for this visitor, now.

        Args:
            head: the feature vector, NaN where withheld or missing. supplied: columns that this decision brings along,
                as float32 holds them.
            context: the caller's context. now: Unix seconds.

        Raises:
            Malformed: a context value of another type than declared.
        """
        if not self._open:
            return False
        known: dict[str, Any] = {NOW: now}
        for name, position, values in self._columns:
            value = head[position]
            if value == value:
                known[name] = values[int(value)] if values else value
        for position, value in supplied:
            if position in self._at:
                self._take(known, position, value)
        if context:
            for one in self._context:
                if one.name in context:
                    found = one.read(context[one.name])
                    if found is not None:
                        known[one.name] = found
        if self._targeting is not None and not self._targeting.matches(known):
            return False
        return self._exclude is None or not self._exclude.excludes(known)

    def _take(self, known: dict[str, Any], position: int, value: float) -> None:
        name, values = self._at[position]
        if value != value:
            known.pop(name, None)
        else:
            known[name] = values[int(value)] if values else value


def compile_gate(
    targeting: tuple[Any, ...] | None,
    exclude: tuple[Any, ...] | None,
    schema: Sequence[Feature],
    context: Sequence[Supplied],
) -> Gate | None:
    """Return the gate of a decision's rules as they were read; None for a decision without rules."""
    if targeting is None and exclude is None:
        return None
    variables = variables_of(schema, context)
    rules = [compile_rule(tree, variables) if tree is not None else None for tree in (targeting, exclude)]
    names = {name for rule in rules if rule is not None for name in rule.reads}
    return Gate(
        targeting=rules[0],
        exclude=rules[1],
        columns=tuple((one.name, i, one.values) for i, one in enumerate(schema) if one.name in names),
        context=tuple(one for one in context if one.name in names),
    )

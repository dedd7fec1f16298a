"""The cascade: which value of each property an element has."""

from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

import tinycss2

from scorefield.sds.vector.reading.css import Budget, Declaration, Node, StyleSheet, declarations
from scorefield.sds.vector.reading.markup import tag_of
from scorefield.sds.vector.reading.properties import (
    CURRENT,
    INHERITED,
    PROPERTIES,
    longhands,
    parsed,
)
from scorefield.sds.vector.reading.values import Function, Length, Refused, View

__all__ = ["Cascade", "Style"]

_MOST_VARIABLES = 500
_LONGEST = 10_000
"""Letters of a value once variables are put in."""
_WIDE = ("inherit", "initial", "unset", "revert", "revert-layer")
# Attributes that are properties on these elements only.
_SIDES = ("svg", "rect", "image", "foreignObject", "use", "symbol")
_GEOMETRY = {
    "x": _SIDES, "y": _SIDES, "width": _SIDES, "height": _SIDES, "cx": ("circle", "ellipse"),
    "cy": ("circle", "ellipse"), "r": ("circle",), "rx": ("ellipse", "rect"),
    "ry": ("ellipse", "rect"), "d": (), "rotate": (), "scale": (), "translate": (), "clip": (),
    "background": (), "background-color": (),
}  # fmt: skip


class Style(dict[str, Any]):
    """The values of an element's properties, and its variables as text; others are initial."""

    def __missing__(self, name: str) -> Any:
        """The initial value."""
        return PROPERTIES[name].initial

    @property
    def em(self) -> float:
        """The size of the font, in user units."""
        return self["font-size"].number

    @property
    def functions(self) -> tuple[Function, ...]:
        """All transforms, the last one first (CSS Transforms 2, section 5)."""
        return self["translate"] + self["rotate"] + self["scale"] + self["transform"]

    def colour(self, value: Any) -> tuple[float, float, float, float]:
        """RGBA, the current one where a value says so."""
        return self["color"] if value == CURRENT else value


class _Invalid(ValueError):
    """A variable that is not there, or too much of it."""


class Cascade:
    """Presentation attributes, then rules by specificity and order, then style attributes.

    A declaration that is important comes after all that are not, an invalid one is dropped and
    reported (CSS Cascade 4).
    """

    def __init__(
        self, sheet: StyleSheet, budget: Budget, report: Callable[[str, Element], None]
    ) -> None:
        self._sheet, self._budget, self._report = sheet, budget, report
        self._declared: dict[Element, dict[str, list[str]]] = {}

    def style(self, node: Node, parent: Style | None, view: View) -> Style:
        """The style of an element that inherits from `parent`.

        Raises:
            ValueError: if the budget is spent, or a value makes the file refused.
        """
        element = node.etree_element
        declared = self.declared(node)
        own = Style()
        if parent is not None:
            own.update((k, v) for k, v in parent.items() if k in INHERITED or k[:2] == "--")
        self._variables(declared, own)
        for name, texts in declared.items():
            if name[:2] != "--":
                self._assign(name, texts, own, parent, element)
        em = 16.0 if parent is None else parent.em
        size = own["font-size"]
        if size.unit:
            whole = em if size.unit == "%" else 0.0
            own["font-size"] = Length(view.pixels(size, whole, em))
        return own

    def declared(self, node: Node) -> dict[str, list[str]]:
        """For each property that is read what is declared of an element, the strongest last."""
        found = self._declared.get(node.etree_element)
        if found is None:
            found = self._declared[node.etree_element] = self._collect(node)
        return found

    def rules(self, node: Node) -> dict[str, str]:
        """What the style sheets and the style attribute say of an element, of any property."""
        style = declarations(node.etree_element.attrib.get("style", ""))
        found = sorted((*self._sheet.of(node), *style), key=lambda d: d.important)
        return {d.name: d.value for d in found}

    def _collect(self, node: Node) -> dict[str, list[str]]:
        element = node.etree_element
        tag = tag_of(element)
        found = [
            Declaration(name, value.strip(), False)
            for name, value in element.attrib.items()
            if name in PROPERTIES and tag in _GEOMETRY.get(name, (tag,))
        ]
        rules = self._sheet.of(node)
        style = declarations(element.attrib.get("style", ""))
        plain = [d for d in (*rules, *style) if not d.important]
        strong = [d for d in (*rules, *style) if d.important]
        out: dict[str, list[str]] = {}
        for declaration in (*found, *plain, *strong):
            for name, value in longhands(declaration.name, declaration.value).items():
                if name in PROPERTIES or name[:2] == "--":
                    out.setdefault(name, []).append(value)
        return out

    def _assign(
        self, name: str, texts: list[str], own: Style, parent: Style | None, element: Element
    ) -> None:
        """Take the strongest declaration that is valid."""
        above = parent if parent is not None else Style()
        for text in reversed(texts):
            value: Any
            try:
                put = self._put_in(text, own, 0) if "var(" in text.lower() else text
            except _Invalid:
                self._report(f'{name}="{text[:40]}"', element)
                own.pop(name, None) if name not in INHERITED else None
                return
            word = put.lower()
            if word in _WIDE:
                taken = word == "inherit" or (word != "initial" and name in INHERITED)
                own[name] = above[name] if taken else PROPERTIES[name].initial
                return
            value = parsed(name, put) if len(put) < 256 else parsed.__wrapped__(name, put)
            if not isinstance(value, ValueError):
                own[name] = above[name] if name == "color" and value == CURRENT else value
                return
            self._report(f'{name}="{put[:40]}"', element)

    def _variables(self, declared: Mapping[str, list[str]], own: Style) -> None:
        names = [name for name in declared if name[:2] == "--"]
        if not names:
            return
        if len(names) + sum(k[:2] == "--" for k in own) > _MOST_VARIABLES:
            raise Refused(f"more than {_MOST_VARIABLES} variables in the style sheets")
        own.update((name, declared[name][-1]) for name in names)
        for name in names:
            text = own[name]
            if "var(" not in text.lower():
                continue
            try:
                own[name] = self._put_in(text, own, 0)
            except _Invalid:
                del own[name]

    def _put_in(self, text: str, own: Mapping[str, Any], depth: int) -> str:
        """The text with its variables put in.

        Raises:
            _Invalid: if one is missing, refers to itself, or there is too much.
        """
        self._budget.spend(20 + len(text))  # its tokens are read anew
        if depth > 20 or len(text) > _LONGEST:
            raise _Invalid
        try:
            tokens = tinycss2.parse_component_value_list(text)
        except RecursionError:
            raise _Invalid from None
        out = "".join(self._token(token, own, depth) for token in tokens)
        if len(out) > _LONGEST:
            raise _Invalid
        return out.strip()

    def _token(self, token: Any, own: Mapping[str, Any], depth: int) -> str:
        if token.type != "function":
            return str(tinycss2.serialize([token]))
        inside = tinycss2.serialize(token.arguments)
        if token.lower_name != "var":
            return f"{token.name}({self._put_in(inside, own, depth + 1)})"
        name, comma, fallback = inside.partition(",")
        value = own.get(name.strip())
        if value is None and not comma:
            raise _Invalid
        return self._put_in(fallback.strip() if value is None else value, own, depth + 1)

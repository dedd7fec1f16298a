"""Style sheets and style attributes: tinycss2 reads them, cssselect2 says whom they are for.

Both do whatever a text asks for, so what is asked for is counted: `Budget` ends it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import tinycss2
from cssselect2 import ElementWrapper, SelectorError, compile_selector_list

from scorefield.sds.vector.reading.media import media_applies
from scorefield.sds.vector.reading.values import Refused

__all__ = ["Budget", "Declaration", "Node", "StyleSheet", "declarations"]

MOST_LETTERS = 4 * 2**20
"""Of all style sheets of a file together."""
MOST_SELECTORS = 20_000
MOST_STEPS = 2_000_000
"""Elements that selectors look at, and variables that are put in."""
_LONGEST = 2_000
"""Letters of the selectors of one rule."""
_DEEPEST = 8
"""Blocks such as @media in each other."""
# Nothing that can hide a colon or a semicolon: no strings, escapes, comments, blocks, importance.
_PLAIN = re.compile(r"""(?:[^"'\\/@{}\[\]!()]++|\([^"'\\/@{}\[\]!();:]*+\))*+""")
_SILENT = {"charset", "font-face", "namespace", "page", "property", "font-feature-values"}


class Budget:
    """Steps that are left; a file that needs more is refused."""

    def __init__(self) -> None:
        self.left = self.steps = MOST_STEPS

    def spend(self, steps: int) -> None:
        """Take steps away.

        Raises:
            ValueError: if there are none left.
        """
        self.left -= steps
        if self.left < 0:
            raise Refused(
                f"refused: the style sheet's selectors and variables take more than {self.steps} "
                "steps on this file's elements; export it with plain attributes"
            )


class Declaration(NamedTuple):
    """`name: value`, the value as text."""

    name: str
    value: str
    important: bool


class Node(ElementWrapper):
    """An element with its neighbours, that counts how often they are looked at."""

    budget: Budget

    @property
    def ancestors(self) -> list["Node"]:
        """From the parent to the root."""
        return self._chain("parent")

    @property
    def previous_siblings(self) -> list["Node"]:
        """From the nearest to the first."""
        return self._chain("previous")

    def _chain(self, step: str) -> list["Node"]:
        """The nodes that one step after another leads to."""
        found: list[Node] = []
        node = getattr(self, step)
        while node is not None:
            found.append(node)
            node = getattr(node, step)
        self.budget.spend(len(found))
        return found

    @property
    def etree_siblings(self) -> list[Element]:
        """All children of the parent."""
        self.budget.spend(len(self._siblings))
        return self._siblings

    @etree_siblings.setter
    def etree_siblings(self, siblings: list[Element]) -> None:
        self._siblings = siblings

    def iter_children(self) -> Iterator["Node"]:
        """The children, new every time."""
        self.budget.spend(1 + len(self.etree_children))
        yield from super().iter_children()


class _Rule(NamedTuple):
    specificity: tuple[int, ...]
    number: int
    test: Any
    weight: int
    letters: bool  # whether it looks into attributes
    declarations: Sequence[Declaration]


def declarations(text: str) -> tuple[Declaration, ...]:
    """What a style attribute or the block of a rule says, in its order."""
    return _short_declarations(text) if len(text) < _LONGEST else _declarations(text)


def _declarations(text: str) -> tuple[Declaration, ...]:
    if _PLAIN.fullmatch(text):  # as editors write it; the tokenizer would take ten times as long
        pairs = (part.partition(":") for part in text.split(";"))
        named = ((name.strip(), value.strip()) for name, colon, value in pairs if colon)
        return tuple(
            Declaration(name if name.startswith("--") else name.lower(), value, False)
            for name, value in named
        )
    try:
        found = tinycss2.parse_blocks_contents(text, skip_comments=True, skip_whitespace=True)
        return tuple(
            Declaration(
                d.name if d.name.startswith("--") else d.lower_name,
                tinycss2.serialize(d.value).strip(),
                d.important,
            )
            for d in found
            if d.type == "declaration"
        )
    except RecursionError:
        return ()


_short_declarations = lru_cache(maxsize=4096)(_declarations)  # files repeat them often


class StyleSheet:
    """The rules of a file's <style> elements.

    `skipped` names what was left out: at-rules and selectors that are not understood.
    """

    def __init__(self, window: tuple[float, float], budget: Budget) -> None:
        self._window, self._budget = window, budget
        # By what the subject must have: "#id", ".class", "name" or "*".
        self._rules: dict[str, list[_Rule]] = {}
        self._count = self._letters = 0
        self.skipped: list[str] = []

    def add(self, text: str, media: str = "") -> None:
        """Read a <style> element, whose media attribute says when it applies.

        Raises:
            ValueError: if it refers to other files, or there is too much of it.
        """
        self._letters += len(text)
        if self._letters > MOST_LETTERS:
            raise Refused(f"more than {MOST_LETTERS} letters of style sheets")
        try:
            if media.strip() and not self._applies(f"@media {media}", media):
                return
            rules = tinycss2.parse_stylesheet(text, skip_comments=True, skip_whitespace=True)
            self._block(rules, 0)
        except RecursionError as error:
            raise Refused("the style sheet is nested too deeply") from error

    def _applies(self, what: str, query: str) -> bool:
        found = media_applies(query, self._window)
        if found is None:
            self.skipped.append(what[:60])
        return bool(found)

    def _block(self, rules: Sequence[Any], depth: int) -> None:
        for rule in rules:
            if rule.type == "qualified-rule":
                self._rule(rule)
            elif rule.type == "at-rule":
                self._at_rule(rule, depth)

    def _at_rule(self, rule: Any, depth: int) -> None:
        name, prelude = rule.lower_at_keyword, tinycss2.serialize(rule.prelude).strip()
        if name == "import":
            raise Refused("the style sheet refers to other files; only #ids are followed")
        what = f"@{name} {prelude}".strip()
        if name == "media" and rule.content is not None and depth < _DEEPEST:
            if self._applies(what, prelude):
                inner = tinycss2.parse_rule_list(
                    rule.content, skip_comments=True, skip_whitespace=True
                )
                self._block(inner, depth + 1)
        elif name not in _SILENT:
            self.skipped.append(what[:60])

    def _rule(self, rule: Any) -> None:
        prelude = tinycss2.serialize(rule.prelude).strip()
        if len(prelude) > _LONGEST:
            self.skipped.append(f"selector {prelude[:40]!r}")
            return
        try:
            selectors = compile_selector_list(rule.prelude)
        except (
            SelectorError, NotImplementedError, SyntaxError, RecursionError, MemoryError, TypeError,
            AttributeError, ValueError, IndexError,
        ):  # fmt: skip
            self.skipped.append(f"selector {prelude[:40]!r}")
            return
        if any(token.type == "{} block" for token in rule.content):
            self.skipped.append(f"rules within {prelude[:40]!r}")
        found = declarations(tinycss2.serialize(rule.content))
        for selector in selectors:
            self._count += 1
            if self._count > MOST_SELECTORS:
                raise Refused(f"more than {MOST_SELECTORS} selectors in the style sheets")
            if selector.never_matches or selector.pseudo_element is not None:
                continue
            key = "*"
            if selector.id is not None:
                key = "#" + selector.id
            elif selector.class_name is not None:
                key = "." + selector.class_name
            elif selector.local_name is not None:
                key = selector.local_name
            weight = 1 + len(prelude) // 16
            self._rules.setdefault(key, []).append(
                _Rule(
                    selector.specificity, self._count, selector.test, weight, "[" in prelude, found
                )
            )

    def of(self, node: Node) -> list[Declaration]:
        """What the rules say of an element, the weakest first, importance aside.

        Raises:
            ValueError: if the budget is spent.
        """
        if not self._rules:
            return []
        names = ["*", node.local_name, *("." + name for name in node.classes)]
        if node.id is not None:
            names.append("#" + node.id)
        matching: list[_Rule] = []
        letters = sum(map(len, node.etree_element.attrib.values()))
        for name in names:
            for rule in self._rules.get(name, ()):
                self._budget.spend(rule.weight * (1 + (letters // 64 if rule.letters else 0)))
                if rule.test(node):
                    matching.append(rule)
        matching.sort(key=lambda rule: rule[:2])
        found = [d for rule in matching for d in rule.declarations]
        self._budget.spend(len(found))
        return found

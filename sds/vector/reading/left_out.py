"""What of a file is not drawn, named by element and id."""

from xml.etree.ElementTree import Element

from scorefield.sds.vector.reading.markup import tag_of

__all__ = ["LeftOut"]

_NAMED = 3
"""Elements that are named one by one, before the rest is counted."""


class LeftOut:
    """Collects what is left out, once for each element."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], dict[str, str]] = {}

    def element(self, element: Element) -> None:
        """A whole element."""
        self._add("", element)

    def part(self, what: str, element: Element) -> None:
        """A property or link of an element, which itself is drawn."""
        self._add(what, element)

    def sheet(self, what: str) -> None:
        """A part of a style sheet."""
        self._found.setdefault((what, ""), {"": ""})

    def _add(self, what: str, element: Element) -> None:
        tag, name = tag_of(element) or element.tag.rpartition("}")[2], element.attrib.get("id")
        shown = f'<{tag} id="{name[:40]}">' if name else f"<{tag}>"
        # Elements without an id are told apart by what they are.
        self._found.setdefault((what, tag), {})[name or str(id(element))] = shown

    def text(self) -> str:
        """All in one line; empty if there is nothing."""
        lines = []
        for (what, tag), elements in self._found.items():
            if not tag:
                lines.append(what)
                continue
            names = sorted(set(elements.values()))
            shown = ", ".join(names[:_NAMED])
            rest = len(elements) - len(names[:_NAMED])
            if rest:
                shown += f" and {rest} more <{tag}>"
            lines.append(f"{what} of {shown}" if what else shown)
        return ", ".join(sorted(lines))

"""Elements that are not drawn, as text that can be written back: with the styles they have."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from scorefield.sds.vector.reading.markup import HREF, SVG, link_of, tag_of
from scorefield.sds.vector.reading.source import Source

__all__ = ["Keeper"]

MOST_KEPT = 2**20
"""Letters of all that is kept; what is more is left out."""
_XML = "{http://www.w3.org/XML/1998/namespace}"
INKSCAPE = "{http://www.inkscape.org/namespaces/inkscape}"
# What text takes over from the elements around it, besides what shapes do.
_OF_TEXT = (
    "direction", "dominant-baseline", "font", "font-family", "font-size", "font-style",
    "font-variant", "font-weight", "fill", "fill-opacity", "letter-spacing", "paint-order",
    "stroke", "stroke-opacity", "stroke-width", "text-anchor", "word-spacing", "writing-mode",
)  # fmt: skip
_NEVER = {"script", "style"}
_FOR_DRAWING = ("filter", "shape-rendering")


class Keeper:
    """Writes elements as text, and remembers what they refer to."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._letters = 0
        self.wanted: dict[str, Element] = {}

    def element(self, element: Element) -> str:
        """An element with the styles that it has where it stands; empty if it is not kept."""
        if tag_of(element) in _NEVER:
            return ""
        chain = []
        node = self._source.nodes[element].parent
        while node is not None:
            chain.append(node)
            node = node.parent
        style: dict[str, str] = {}
        for above in reversed(chain):
            found = self._source.cascade.declared(above)
            style |= {name: found[name][-1] for name in _OF_TEXT if name in found}
            attributes = above.etree_element.attrib
            style |= {name: attributes[name] for name in _OF_TEXT if name in attributes}
        text = "".join(self._lines(element, style))
        self._letters += len(text)
        return text if self._letters <= MOST_KEPT else ""

    def attributes(self, element: Element) -> dict[str, str]:
        """What else a shape or a group says: classes, labels, its title, and what is not drawn."""
        out = {}
        for name, value in element.attrib.items():
            plain = name.replace(INKSCAPE, "inkscape:")
            if plain in ("class", "role", "inkscape:label", "inkscape:groupmode") or (
                plain.startswith(("data-", "aria-")) and plain.replace("-", "").isalnum()
            ):
                out[plain] = value
        declared = self._source.cascade.declared(self._source.nodes[element])
        for name in _FOR_DRAWING:
            value = declared.get(name, ["none"])[-1]
            if value not in ("none", "normal") and len(value) < 200:
                out[name] = value
                self._want(value)
        title = next((c for c in element if tag_of(c) == "title"), None)
        if title is not None and (title.text or "").strip():
            out["title"] = (title.text or "").strip()
        self._letters += sum(map(len, out.values()))
        return out if self._letters <= MOST_KEPT else {}

    def definitions(self) -> dict[str, str]:
        """By id what was referred to, and what that refers to, in its turn."""
        out: dict[str, str] = {}
        while any(name not in out for name in self.wanted):
            for name, element in list(self.wanted.items()):
                if name not in out:
                    out[name] = self.element(element)
        return {name: text for name, text in out.items() if text}

    def _want(self, value: str) -> None:
        for part in value.split("url(")[1:]:
            name = part.partition(")")[0].strip(" '\"").removeprefix("#")
            if name in self._source.ids:
                self.wanted[name] = self._source.ids[name]

    def _lines(self, element: Element, style: dict[str, str]) -> Iterator[str]:
        tag = element.tag
        if not isinstance(tag, str) or tag_of(element) in _NEVER:
            return
        space, _, name = tag.rpartition("}")
        own = {}
        for key, value in element.attrib.items():
            if key == HREF:
                own["href"] = value
            elif key.startswith(_XML):
                own["xml:" + key.removeprefix(_XML)] = value
            elif "}" not in key and key not in ("style", "xmlns"):
                own[key] = value
        if space and space + "}" != SVG:
            own["xmlns"] = space[1:]
        declared = self._source.cascade.rules(self._source.nodes[element])
        style = {k: v for k, v in style.items() if k not in own} | declared
        if style:
            own["style"] = ";".join(f"{k}:{v}" for k, v in style.items())
        for value in own.values():
            self._want(value)
        target = link_of(element)
        if target.startswith("#") and target[1:] in self._source.ids:
            self.wanted[target[1:]] = self._source.ids[target[1:]]
        yield f"<{name}" + "".join(f" {k}={quoteattr(v)}" for k, v in own.items())
        if not len(element) and not element.text:
            yield "/>"
        else:
            yield ">" + escape(element.text or "")
            for child in element:
                yield from self._lines(child, {})
                yield escape(child.tail or "")
            yield f"</{name}>"

"""An SVG file's XML, which is not trusted.

Entities of plain text, as Illustrator declares for its namespaces, are put in; those that refer to
others, or to files, are refused, and so is a file that its entities could make larger than what is
read in any case. Nothing is fetched.
"""

from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException, EntitiesForbidden
from defusedxml.ElementTree import DefusedXMLParser

from scorefield.sds.vector.reading.values import Refused

__all__ = ["HREF", "SVG", "link_of", "parse_xml", "tag_of"]

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


class _Parser(DefusedXMLParser):
    """Entities are texts without references that, put in everywhere, stay below a size."""

    def __init__(self, references: int, most: int) -> None:
        super().__init__(target=TreeBuilder(), forbid_entities=True, forbid_external=True)
        self._references, self._most = references, most

    def defused_entity_decl(
        self, name: Any, is_parameter_entity: Any, value: Any, base: Any, sysid: Any, *rest: Any
    ) -> None:
        """Let a plain entity pass."""
        plain = value is not None and not is_parameter_entity and sysid is None
        if not plain or any(sign in value for sign in "&%<"):
            super().defused_entity_decl(name, is_parameter_entity, value, base, sysid, *rest)
        if len(value) * self._references > self._most:
            raise Refused(
                f"refused: entity {name!r} of {len(value)} letters may be put in "
                f"{self._references} times, which is more than the {self._most} that are read"
            )


def parse_xml(text: str | bytes, most: int) -> Element:
    """The root of an SVG file.

    Args:
        text: of the file.
        most: letters that entities may add.

    Raises:
        ValueError: if it is not well-formed, not SVG or refused as unsafe.
    """
    references = text.count("&") if isinstance(text, str) else text.count(b"&")
    parser = _Parser(references, most)
    try:
        parser.feed(text)
        root: Element = parser.close()
    except DefusedXmlException as error:
        kind = "entities" if isinstance(error, EntitiesForbidden) else "references to other files"
        raise Refused(
            f"refused: the file declares XML {kind}, which can make it expand without bound or "
            "read other files; save it as plain SVG"
        ) from error
    except Refused:
        raise
    except (ParseError, LookupError, ValueError, RecursionError) as error:
        raise ValueError(f"not well-formed XML: {error}") from error
    if tag_of(root) != "svg":
        raise ValueError(f"the root element is <{root.tag}>, not <svg>")
    return root


def tag_of(element: Element) -> str:
    """The name of an SVG element; empty for elements of other namespaces."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    return tag.removeprefix(SVG) if tag.startswith(SVG) or "}" not in tag else ""


def link_of(element: Element) -> str:
    """What the element's href says; empty without one."""
    return element.attrib.get("href", element.attrib.get(HREF, "")).strip()

"""A file's elements with their ids, neighbours and styles."""

from xml.etree.ElementTree import Element

from scorefield.sds.vector.reading.css import Budget, Node, StyleSheet
from scorefield.sds.vector.reading.left_out import LeftOut
from scorefield.sds.vector.reading.markup import link_of, tag_of
from scorefield.sds.vector.reading.style import Cascade, Style
from scorefield.sds.vector.reading.values import Length, Refused, View, parse_length

__all__ = ["Source"]

_MOVING = ("animate", "animateColor", "animateMotion", "animateTransform", "set")


class Source:
    """What is asked of a file while its elements are visited.

    Raises:
        ValueError: if it has more than `most` elements, or its style sheets are refused.
    """

    def __init__(self, root: Element, most: int, view: View) -> None:
        self.root, self.view = root, view
        self.left_out = LeftOut()
        self.ids: dict[str, Element] = {}
        self.nodes: dict[Element, Node] = {}
        self._styles: dict[Element, Style] = {}
        budget = Budget()
        sheet = StyleSheet(view.window, budget)
        self.cascade = Cascade(sheet, budget, self.left_out.part)
        node_type: type[Node] = type("CountedNode", (Node,), {"budget": Budget()})
        stack: list[Node] = [node_type.from_xml_root(root)]
        while stack:
            node = stack.pop()
            element = node.etree_element
            self.nodes[element] = node
            if len(self.nodes) > most:
                raise Refused(f"more than {most} elements")
            stack.extend(reversed(list(node.iter_children())))
            if tag_of(element) in _MOVING:
                self.left_out.element(element)
            if "id" in element.attrib:
                self.ids.setdefault(element.attrib["id"], element)
            if tag_of(element) == "style" and element.attrib.get("type", "text/css") in (
                "", "text/css",
            ):  # fmt: skip
                sheet.add("".join(element.itertext()), element.attrib.get("media", ""))
        node_type.budget = budget  # building the tree was free
        for what in sheet.skipped:
            self.left_out.sheet(what)

    def style(self, element: Element, parent: Style | None, view: View) -> Style:
        """The style of an element below one of style `parent`."""
        return self.cascade.style(self.nodes[element], parent, view)

    def style_in_place(self, element: Element) -> Style:
        """The style of an element where it stands, as paint servers and clip paths have it."""
        chain = [element]
        while chain[-1] not in self._styles:
            above = self.nodes[chain[-1]].parent
            if above is None:
                break
            chain.append(above.etree_element)
        style = self._styles.get(chain[-1])
        for each in reversed(chain):
            if each not in self._styles:
                self._styles[each] = self.style(each, style, self.view)
            style = self._styles[each]
        assert style is not None
        return style

    def linked(self, element: Element) -> Element | None:
        """The element that an href leads to; None, reported, if there is none.

        Raises:
            ValueError: if it leads to another file.
        """
        target = link_of(element)
        if not target.startswith("#"):
            if target:
                raise Refused(
                    f"<{tag_of(element)}> links to {target[:80]!r}; only #ids of the same file are "
                    "followed"
                )
            return None
        found = self.ids.get(target[1:])
        if found is None:
            self.left_out.part(f"link to {target[:40]}", element)
        return found

    def length(self, element: Element, name: str, default: str) -> Length:
        """An attribute that is a length; the default, reported, if it is none."""
        text = element.attrib.get(name, "").strip()
        if not text and name not in element.attrib:
            return parse_length(default)
        try:
            return parse_length(text)
        except Refused:
            raise
        except ValueError:
            self.left_out.part(f'{name}="{text[:40]}"', element)
            return parse_length(default)

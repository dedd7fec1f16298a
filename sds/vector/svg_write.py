"""A document to the text of an SVG file."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from torch import Tensor

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.geometry import Circle, Ellipse, Path, Polyline, Rect
from scorefield.sds.vector.nodes import FillRule, Group, Mask, MaskKind, Pattern, Shape
from scorefield.sds.vector.paint import LinearGradient, RadialGradient, Spread, Units
from scorefield.sds.vector.path_data import format_path
from scorefield.sds.vector.stroke import Cap, Join, Pen
from scorefield.sds.vector.tree import ShapeTree

__all__ = ["svg_text"]


def svg_text(document: ShapeTree, digits: int = 6) -> str:
    """The SVG file of a document; loaded and written again it is the same, byte for byte.

    Args:
        document: what to write.
        digits: significant digits of every number but the colours, which have 8 bits; up to 6,
            beyond which 32-bit floats do not come back the same.

    Raises:
        ValueError: if digits is not in 1 to 6, or a number is not finite.
    """
    if not 1 <= digits <= 6:
        raise ValueError(f"digits must be from 1 to 6, got {digits}")
    return _Writer(document, digits).text()


class _Writer:
    def __init__(self, document: ShapeTree, digits: int) -> None:
        self.document, self.digits = document, digits
        self.written: dict[int | tuple[int, ...], str] = {}  # names of paints and masks
        self.alive: list[object] = []  # what those numbers stand for
        self.defs: list[str] = []
        self.clipping = False  # whether the area alone counts
        self.names = {node.name for node in document.nodes()}

    def text(self) -> str:
        document = self.document
        body = [line for child in document.children for line in self.node(child, 1)]
        head = {"xmlns": "http://www.w3.org/2000/svg"}
        if any(key.startswith("inkscape:") for n in document.nodes() for key in n.attributes):
            head["xmlns:inkscape"] = "http://www.inkscape.org/namespaces/inkscape"
        if document.size is not None:
            width, height = document.size
            head |= {"width": self.number(width), "height": self.number(height)}
        head["viewBox"] = self.numbers(document.view_box)
        if document.aspect != "xMidYMid meet":
            head["preserveAspectRatio"] = document.aspect
        lines = ["<svg" + _attributes(head) + ">"]
        defs = [*self.defs]
        for name, kept in document.kept.items():
            if name not in self.names:
                defs.append("    " + kept)
        if defs:
            lines += ["  <defs>", *defs, "  </defs>"]
        return "\n".join([*lines, *body, "</svg>"]) + "\n"

    def named(self, wanted: str | None, kind: str) -> str:
        """An id that nothing else has: the wanted one if it is free."""
        number = 1
        name = wanted
        while name is None or name in self.names:
            name = f"{kind}{number}"
            number += 1
        self.names.add(name)
        return name

    def number(self, value: float | int | Tensor) -> str:
        value = float(value)
        if not abs(value) < float("inf"):
            raise ValueError(f"an SVG file holds finite numbers only, got {value}")
        text = f"{value:.{self.digits}g}"
        return "0" if text == "-0" else text

    def numbers(self, values: object) -> str:
        if isinstance(values, Tensor):
            values = values.detach().flatten().tolist()
        return " ".join(self.number(v) for v in values)  # type: ignore[attr-defined]

    def transform(self, matrix: Tensor | None) -> dict[str, str]:
        if matrix is None:
            return {}
        words = self.numbers(matrix.detach().T)  # a b c d e f, column by column
        return {} if words == "1 0 0 1 0 0" else {"transform": f"matrix({words})"}

    def node(self, node: Shape | Group, depth: int) -> list[str]:
        pad = "  " * depth
        if isinstance(node, Group) and node.kept:
            return [pad + node.kept]
        common: dict[str, str] = {} if node.name is None else {"id": node.name}
        common |= {k: v for k, v in node.attributes.items() if k != "title"}
        last = self.transform(node.transform) | self.masks(node.masks)
        if node.opacity is not None:
            opacity = self.number(node.opacity.detach().clamp(0, 1))
            last |= {} if opacity == "1" else {"opacity": opacity}
        mixing = []  # no presentation attributes
        if node.blend_mode is not BlendMode.NORMAL:
            mixing.append(f"mix-blend-mode:{node.blend_mode.value}")
        if isinstance(node, Group) and node.isolated:
            mixing.append("isolation:isolate")
        last |= {"style": ";".join(mixing)} if mixing else {}
        inner = []
        if "title" in node.attributes:
            inner = [f"{pad}  <title>{escape(node.attributes['title'])}</title>"]
        if isinstance(node, Group):
            inner += [line for child in node.children for line in self.node(child, depth + 1)]
            return [f"{pad}<g{_attributes(common | last)}>", *inner, f"{pad}</g>"]
        tag, geometry = self.geometry(node)
        begin = f"{pad}<{tag}{_attributes(common | geometry | self.style(node) | last)}"
        return [begin + ">", *inner, f"{pad}</{tag}>"] if inner else [begin + "/>"]

    def masks(self, masks: Sequence[Mask]) -> dict[str, str]:
        """The attributes of what is seen through masks: one of each kind, which lead to others."""
        out = {}
        for name, clip in (("clip-path", True), ("mask", False)):
            some = [mask for mask in masks if (mask.kind is MaskKind.CLIP) is clip]
            if some:
                out[name] = f"url(#{self.mask(some)})"
        return out

    def mask(self, masks: Sequence[Mask]) -> str:
        """The id of the first of some masks of one kind, seen through the others."""
        key = tuple(map(id, masks))
        if key in self.written:
            return self.written[key]
        first = masks[0]
        clip = first.kind is MaskKind.CLIP
        tag = "clipPath" if clip else "mask"
        name = self.written[key] = self.named(first.name, "clip" if clip else "mask")
        self.alive.append(masks)
        out = {"id": name}
        transform = self.transform(first.transform)
        depth = 4 if transform and not clip else 3
        self.clipping, outer = clip, self.clipping
        lines = [line for child in first.children for line in self.node(child, depth)]
        self.clipping = outer
        if clip:
            out |= transform
        else:
            region = first.region or (-1e5, -1e5, 2e5, 2e5)
            words = (self.number(v) for v in region)
            out |= {"maskUnits": "userSpaceOnUse"}
            out |= dict(zip(("x", "y", "width", "height"), words, strict=True))
            if first.kind is MaskKind.ALPHA:
                out["mask-type"] = "alpha"
            if transform:
                lines = [f"      <g{_attributes(transform)}>", *lines, "      </g>"]
        out |= self.masks([*first.masks, *masks[1:]])
        self.defs += [f"    <{tag}{_attributes(out)}>", *lines, f"    </{tag}>"]
        return name

    def geometry(self, shape: Shape) -> tuple[str, dict[str, str]]:
        g = shape.geometry
        match g:
            case Path():
                return "path", {"d": format_path(g, self.number)}
            case Circle():
                return "circle", self.pair("cx", "cy", g.centre) | {
                    "r": self.number(g.radius.detach().clamp_min(0))
                }
            case Ellipse():
                radii = g.radii.detach().clamp_min(0)
                return "ellipse", self.pair("cx", "cy", g.centre) | self.pair("rx", "ry", radii)
            case Rect():
                size = g.size.detach().clamp_min(0)
                out = self.pair("x", "y", g.corner) | self.pair("width", "height", size)
                if g.radii is not None:
                    out |= self.pair("rx", "ry", g.radii.detach().clamp_min(0))
                return "rect", out
            case Polyline():
                words = " ".join(
                    f"{self.number(x)},{self.number(y)}" for x, y in g.vertices.detach().tolist()
                )
                return "polygon" if g.closed else "polyline", {"points": words}
        raise ValueError(f"cannot write a {type(g).__name__} as SVG")

    def pair(self, x: str, y: str, value: Tensor) -> dict[str, str]:
        first, second = value.detach().tolist()
        return {x: self.number(first), y: self.number(second)}

    def style(self, shape: Shape) -> dict[str, str]:
        if self.clipping:
            return {"clip-rule": "evenodd"} if shape.rule is FillRule.EVEN_ODD else {}
        out = self.paint("fill", shape.fill)
        if shape.rule is FillRule.EVEN_ODD:
            out["fill-rule"] = "evenodd"
        stroke = shape.stroke
        if stroke is None:
            return out
        pen, plain = stroke.pen, Pen()
        width = self.number(stroke.width.detach().clamp_min(0))
        out |= self.paint("stroke", stroke.paint) | {"stroke-width": width}
        if pen.cap is not Cap.BUTT:
            out["stroke-linecap"] = pen.cap.value
        if pen.join is not Join.MITER:
            out["stroke-linejoin"] = pen.join.value
        if pen.miter_limit != plain.miter_limit:
            out["stroke-miterlimit"] = self.number(pen.miter_limit)
        if pen.dashes:
            out["stroke-dasharray"] = self.numbers(pen.dashes)
        if pen.dash_offset != 0:
            out["stroke-dashoffset"] = self.number(pen.dash_offset)
        if shape.stroke_first:
            out["paint-order"] = "stroke"
        return out

    def paint(self, name: str, paint: object) -> dict[str, str]:
        if paint is None:
            return {name: "none"}
        if isinstance(paint, Tensor):
            colour, alpha = self.colour(paint)
            return {name: colour} | ({} if alpha == "1" else {f"{name}-opacity": alpha})
        assert isinstance(paint, LinearGradient | RadialGradient | Pattern)
        if id(paint) not in self.written:
            chosen = self.written[id(paint)] = self.named(paint.name, "paint")
            self.alive.append(paint)
            if isinstance(paint, Pattern):
                self.pattern(paint, chosen)
            else:
                self.gradient(paint, chosen)
        out = {name: f"url(#{self.written[id(paint)]})"}
        if isinstance(paint, Pattern) and paint.opacity is not None:
            out[f"{name}-opacity"] = self.number(paint.opacity.detach().clamp(0, 1))
        return out

    def pattern(self, paint: Pattern, name: str) -> None:
        out = {"id": name, "patternUnits": "userSpaceOnUse"}
        out |= {"width": self.number(paint.width), "height": self.number(paint.height)}
        matrix = self.transform(paint.transform)
        out |= {"patternTransform": matrix["transform"]} if matrix else {}
        lines = [line for child in paint.children for line in self.node(child, 3)]
        self.defs += [f"    <pattern{_attributes(out)}>", *lines, "    </pattern>"]

    def colour(self, rgba: Tensor) -> tuple[str, str]:
        values = rgba.detach().clamp(0, 1)
        red, green, blue = (int(v) for v in (255 * values[:3]).round().tolist())
        return f"#{red:02x}{green:02x}{blue:02x}", self.number(values[3])

    def gradient(self, paint: LinearGradient | RadialGradient, name: str) -> None:
        out = {"id": name}
        if isinstance(paint, LinearGradient):
            tag = "linearGradient"
            out |= self.pair("x1", "y1", paint.start) | self.pair("x2", "y2", paint.end)
        else:
            tag = "radialGradient"
            radius = self.number(paint.radius.detach().clamp_min(0))
            out |= self.pair("cx", "cy", paint.centre) | {"r": radius}
            if paint.focus is not None:
                out |= self.pair("fx", "fy", paint.focus)
            if paint.inner is not None:
                out["fr"] = self.number(paint.inner.detach().clamp_min(0))
        if paint.units is not Units.BOX:
            out["gradientUnits"] = paint.units.value
        if paint.spread is not Spread.PAD:
            out["spreadMethod"] = paint.spread.value
        matrix = self.transform(paint.transform)
        out |= {"gradientTransform": matrix["transform"]} if matrix else {}
        self.defs.append(f"    <{tag}{_attributes(out)}>")
        for offset, rgba in zip(paint.offsets.detach().clamp(0, 1), paint.colours, strict=True):
            colour, alpha = self.colour(rgba)
            stop = {"offset": self.number(offset), "stop-color": colour}
            stop |= {} if alpha == "1" else {"stop-opacity": alpha}
            self.defs.append(f"      <stop{_attributes(stop)}/>")
        self.defs.append(f"    </{tag}>")


def _attributes(values: dict[str, str]) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items())

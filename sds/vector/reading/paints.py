"""What fills and strokes are painted with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from xml.etree.ElementTree import Element

import torch

from scorefield.sds.vector.nodes import Paint, Pattern, Shape
from scorefield.sds.vector.paint import LinearGradient, RadialGradient
from scorefield.sds.vector.reading.effects import EffectReader
from scorefield.sds.vector.reading.gradients import GRADIENTS, GradientReader
from scorefield.sds.vector.reading.markup import tag_of
from scorefield.sds.vector.reading.properties import CONTEXT, PaintValue
from scorefield.sds.vector.reading.source import Source
from scorefield.sds.vector.reading.style import Style
from scorefield.sds.vector.reading.values import View

__all__ = ["PaintReader"]

_NOTHING = PaintValue(None)


class PaintReader:
    """Reads paints: colours, what links lead to, and those of the context."""

    def __init__(self, source: Source, effects: EffectReader) -> None:
        self._source, self._effects = source, effects
        self._gradients = GradientReader(source)
        self._context = (_NOTHING, _NOTHING)

    @contextmanager
    def within(self, style: Style) -> Iterator[None]:
        """While a marker of a shape, or what a `use` shows, is read: context-fill, -stroke."""
        outer = self._context
        self._context = (self._value(style, "fill"), self._value(style, "stroke"))
        try:
            yield
        finally:
            self._context = outer

    def paint(
        self, element: Element, style: Style, name: str, bare: Shape, view: View
    ) -> Paint | None:
        """The fill or the stroke of a shape, which is the box of what is measured by one."""
        value, opacity = self._value(style, name), style[f"{name}-opacity"]
        if value.link is not None and style[name].link is None:
            # It belongs to the space of the other shape.
            self._source.left_out.part(f"{style[name].colour} that is no colour", element)
        elif value.link is not None:
            server = self._source.ids.get(value.link)
            tag = "" if server is None else tag_of(server)
            paint: Paint | None
            if server is not None and tag in (*GRADIENTS, "pattern"):
                if tag == "pattern":
                    paint = self._effects.pattern(server, [bare], view)
                else:
                    paint = self._gradients.paint(server, view)
                return None if paint is None else _faded(paint, opacity)
            self._source.left_out.part(f"{name} url(#{value.link[:40]})", element)
        if value.colour is None:
            return None
        return _faded(torch.tensor(value.colour), opacity)

    def _value(self, style: Style, name: str) -> PaintValue:
        """The paint with its colour as RGBA."""
        value: PaintValue = style[name]
        if value.colour in CONTEXT:
            context = self._context[CONTEXT.index(value.colour)]
            return context if value.link is None else value._replace(colour=context.colour)
        colour = None if value.colour is None else style.colour(value.colour)
        return value._replace(colour=colour)


def _faded(paint: Paint, opacity: float) -> Paint:
    """The paint with its alpha multiplied by `opacity`."""
    if opacity == 1:
        return paint
    if isinstance(paint, Pattern):
        return replace(paint, opacity=torch.tensor(opacity))
    factor = torch.tensor([1.0, 1.0, 1.0, opacity])
    if isinstance(paint, torch.Tensor):
        return paint * factor
    assert isinstance(paint, LinearGradient | RadialGradient)
    return replace(paint, colours=paint.colours * factor)

"""Curves as inline SVG."""

from collections.abc import Sequence
from html import escape

__all__ = ["plot"]

WIDTH, HEIGHT = 300, 90
POINTS = 150


def plot(name: str, steps: Sequence[float], values: Sequence[float]) -> str:
    """A curve with its name, its last value, and its range; means over bins if it is long.

    Args:
        name: of the figure.
        steps: at least one.
        values: one per step, finite.
    """
    per = -(-len(steps) // POINTS)
    bins = [slice(i, i + per) for i in range(0, len(steps), per)]
    xs = [sum(steps[part]) / len(steps[part]) for part in bins]
    ys = [sum(values[part]) / len(values[part]) for part in bins]
    low, high, first, last = min(ys), max(ys), min(xs), max(xs)
    across, up = (last - first) or 1, (high - low) or 1
    points = " ".join(
        f"{WIDTH * (x - first) / across:.1f},{HEIGHT * (high - y) / up:.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    label = escape(name)
    says = f"{label}: from {ys[0]:.4g} at step {first:.0f} to {ys[-1]:.4g} at step {last:.0f}"
    return (
        f'<figure class="plot"><figcaption>{label} <b>{values[-1]:.4g}</b></figcaption>'
        f'<svg viewBox="-2 -3 {WIDTH + 4} {HEIGHT + 6}" role="img" aria-label="{says}" '
        f'preserveAspectRatio="none"><polyline points="{points}"/></svg>'
        f"<small>{low:.4g} to {high:.4g}, steps {first:.0f} to {last:.0f}</small></figure>"
    )

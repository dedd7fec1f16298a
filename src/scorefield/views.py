"""How a camera is put into words, and how wide it sees: one convention for captions and renders."""

VIEWS = ("front view", "side view", "back view", "overhead view")
"""The view words of captions, as `view_name` assigns them."""

FOV = 40.0
"""Horizontal field of view of every camera, degrees."""


def view_name(azimuth: float | int, elevation: float | int) -> str:
    """View word of a camera at azimuth and elevation in degrees.

    Overhead above 60 degrees of elevation; otherwise front within 45 degrees of azimuth 0, back
    within 45 degrees of azimuth 180, side between them.
    """
    if elevation > 60:
        return "overhead view"
    off = abs((azimuth + 180) % 360 - 180)
    return "front view" if off < 45 else "back view" if off > 135 else "side view"

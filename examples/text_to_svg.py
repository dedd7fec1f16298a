"""Text to SVG from Python: the embedded prior, one prompt, a drawing; and an SVG file as a start.

python examples/text_to_svg.py
"""

from dataclasses import replace
from pathlib import Path

from scorefield.priors import load_prior
from scorefield.sds.svg import Icon, TextToSvgSettings, text_to_svg


def main(out: str = "runs/icons", steps: int = 100) -> None:
    """Draw a duck, then turn the drawing into one of another colour."""
    prior = load_prior("shapes")  # or a folder or hub id of Stable Diffusion, on device="cuda"
    settings = TextToSvgSettings("a yellow duck", style=Icon(paths=32), steps=steps)
    duck = text_to_svg(prior, settings, Path(out) / "duck", resume=True)
    start = (duck / "final.svg").read_text(encoding="utf-8")
    other = replace(settings, prompt="a blue duck", start=start, steps=2 * steps)
    blue = text_to_svg(prior, other, Path(out) / "blue", resume=True)
    print("wrote", duck / "final.svg", "and", blue / "final.svg")


if __name__ == "__main__":
    main()

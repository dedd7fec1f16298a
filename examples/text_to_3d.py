"""Text to 3D from Python: the embedded prior, one prompt, a mesh.

python examples/text_to_3d.py
"""

from scorefield.priors import load_prior
from scorefield.sds import TextTo3DSettings, text_to_3d


def main(out: str = "runs/duck", steps: int = 400) -> None:
    """Make a yellow duck."""
    prior = load_prior("shapes")  # or a folder or hub id of Stable Diffusion, on device="cuda"
    settings = TextTo3DSettings("a yellow duck", steps=steps, seed=0)
    folder = text_to_3d(prior, settings, out, resume=True)
    print("wrote", *sorted(path.name for path in folder.iterdir()))


if __name__ == "__main__":
    main()

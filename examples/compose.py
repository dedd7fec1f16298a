"""AND and NOT of prompts: one image under several prompts at once.

Writes a sheet of four images a row, from the same noise in each column: a table; something red; a
table AND red, by the sum of the two scores; a mushroom; a mushroom and NOT a red one.

    python examples/compose.py
"""

import torch

from scorefield.images import contact_sheet, save_image
from scorefield.priors import load_prior, sample
from scorefield.priors.composition.compose import conjunction
from scorefield.priors.denoiser import Composition


def main(path: str = "compose.png", columns: int = 4, steps: int = 25) -> None:
    """Draw the sheet."""
    prior = load_prior("shapes")
    anything = prior.condition()
    table, red = prior.condition("a table"), prior.condition("red")
    mushroom, unwanted = prior.condition("a mushroom"), prior.condition("a red mushroom")
    fields: dict[str, Composition] = {
        "a table": conjunction(anything, {table: 3.0}),
        "red": conjunction(anything, {red: 3.0}),
        "AND": conjunction(anything, {table: 3.0, red: 3.0}),
        "a mushroom": conjunction(anything, {mushroom: 3.0}),
        # by operators: anything * (mushroom / anything) ** 4 * (unwanted / anything) ** -1.5
        "NOT red": conjunction(anything, {mushroom: 4.0, unwanted: -1.5}),
    }
    print(fields["AND"].explain())
    rows = []
    for field in fields.values():
        latents = sample(field, prior.latent_shape, columns, steps=steps, progress=True)
        rows.append(prior.decode(latents))
    labels = [name for name in fields for _ in range(columns)]
    save_image(path, contact_sheet(torch.cat(rows), columns, labels))


if __name__ == "__main__":
    main()

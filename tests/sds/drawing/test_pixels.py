"""An image on a grid of squares with a palette."""

import torch
from torch import Tensor

from scorefield.sds.svg.pixels import pixel_document


def enlarged(cells: Tensor, side: int = 64) -> Tensor:
    """Colours (3, grid, grid) as an image."""
    return cells.repeat_interleave(side // cells.shape[-1], 1).repeat_interleave(
        side // cells.shape[-1], 2
    )


def test_a_grid_of_few_colours_comes_back() -> None:
    generator = torch.Generator().manual_seed(3)
    palette = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.2, 0.8], [0.1, 0.6, 0.2]])
    cells = palette[torch.randint(3, (8, 8), generator=generator)].permute(2, 0, 1)
    document = pixel_document(enlarged(cells), 8, 12)
    assert (document.render(8, 8)[:3] - cells).abs().max() < 0.03
    shapes = list(document.shapes())
    areas = [shape.geometry.size.prod().item() for shape in shapes]
    assert sum(areas) == 64 and max(areas) > 1  # each cell once, and neighbours are joined


def test_a_white_ground_is_left_out_and_white_inside_stays() -> None:
    cells = torch.ones(3, 8, 8)
    cells[:, 2:6, 2:6] = torch.tensor([0.8, 0.1, 0.1])[:, None, None]
    cells[:, 3:5, 3:5] = 1.0
    document = pixel_document(enlarged(cells), 8, 12)
    areas = sum(shape.geometry.size.prod().item() for shape in document.shapes())
    assert areas == 16  # the ring and the hole in it, none of the ground
    black = document.render(8, 8, torch.zeros(3))
    assert black[:, 3:5, 3:5].min() > 0.9 and black[:, 0].max() == 0

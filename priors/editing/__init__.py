"""Editing with a frozen prior: SDEdit, inversions, inpainting, prompt-to-prompt.

From an image to noise and back under another prompt: `sdedit`, `ddim_inversion`, `edit_friendly`;
with attention kept, `prompt_to_prompt` (attention_edit); inside `masks`, `inpainting`.
`scorefield.sds.edit` is one function for all of them.
"""

from scorefield.lazy_names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)

"""Editing with a frozen prior: SDEdit, inversions, inpainting, prompt-to-prompt.

From an image to noise and back under another prompt: `sdedit`, `ddim_inversion`, `edit_friendly`;
with attention kept, `prompt_to_prompt` (attention_edit); inside `masks`, `inpainting`.
`scorefield.sds.edit` is one function for all of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

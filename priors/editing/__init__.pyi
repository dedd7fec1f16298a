from .attention_edit import AttentionEdit as AttentionEdit
from .ddim_inversion import ddim_generate as ddim_generate
from .ddim_inversion import ddim_invert as ddim_invert
from .edit_friendly import NoiseMaps as NoiseMaps
from .edit_friendly import edit_friendly_invert as edit_friendly_invert
from .inpainting import inpaint as inpaint
from .prompt_to_prompt import prompt_to_prompt as prompt_to_prompt
from .sdedit import sdedit as sdedit

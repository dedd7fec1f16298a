from .distillation import TextToSvg as TextToSvg
from .distillation import text_to_svg as text_to_svg
from .settings import Augmentation as Augmentation
from .settings import TextToSvgSettings as TextToSvgSettings
from .styles import Icon as Icon
from .styles import PixelArt as PixelArt
from .styles import Sketch as Sketch
from .styles import Style as Style

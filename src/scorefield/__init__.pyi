from .control.policies.loading import load_policy as load_policy
from .control.training.train import train_policy as train_policy
from .perception.classification.classify import classify as classify
from .perception.correspondence.dift import features as features
from .perception.correspondence.dift import match as match
from .perception.segmentation.segment import segment as segment
from .priors.checks.conformance import check_prior as check_prior
from .priors.composition.compose import compose as compose
from .priors.loading import load_prior as load_prior
from .priors.sampling import sample as sample
from .sds.distillation import Distillation as Distillation
from .sds.edit import edit as edit
from .sds.nerf.scene_distillation import text_to_3d as text_to_3d
from .sds.svg.distillation import text_to_svg as text_to_svg

__version__: str

from .control.policies.loading import load_policy as load_policy
from .control.training.train import train_policy as train_policy
from .perception.classification.classify import classify as classify
from .perception.correspondence.dift import dift_features as dift_features
from .perception.correspondence.dift import match_pictures as match_pictures
from .perception.segmentation.segment import segment as segment
from .priors.composition.compose import compose as compose
from .priors.conformance import check_prior as check_prior
from .priors.loading import load_prior as load_prior
from .priors.sampling import sample as sample
from .sds.distillation import Distillation as Distillation
from .sds.nerf.finish import text_to_3d as text_to_3d
from .sds.objective import distill as distill

__version__: str

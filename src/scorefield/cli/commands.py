"""Every command: in which group of `scorefield --help`, the class that is it, what it does."""

from dataclasses import dataclass
from importlib import import_module

from scorefield.cli.command import Command


@dataclass(frozen=True)
class Entry:
    """A command before it is imported.

    where: "module:Class", the module below `scorefield.cli`.
    does: what it does, in a few words.
    """

    where: str
    does: str

    def load(self) -> type[Command]:
        """The class whose fields are the options."""
        module, _, name = self.where.partition(":")
        command: type[Command] = getattr(import_module(f"scorefield.cli.{module}"), name)
        return command


GROUPS: dict[str, dict[str, Entry]] = {
    "Images and videos": {
        "sample": Entry("images.sample:Sample", "images of prompts, on one sheet"),
        "compose": Entry(
            "images.compose:Compose", "images that several prompts hold for, and others do not"
        ),
        "edit": Entry("images.edit:Edit", "an image of yours, changed to a prompt"),
        "invert": Entry("images.invert:Invert", "the noise that an image is made from"),
        "text-to-video": Entry(
            "images.text_to_video:TextToVideo", "short videos of a prompt, by one prior or two"
        ),
    },
    "3D objects and vector drawings": {
        "text-to-3d": Entry(
            "distillation.text_to_3d:TextTo3DCommand",
            "a 3D object from a prompt: mesh, turntable, views",
        ),
        "texture": Entry(
            "distillation.texture:TextureCommand", "a mesh of yours, painted to a prompt"
        ),
        "nerfstudio train": Entry(
            "nerfstudio.train:NerfstudioTrain", "a prompt, distilled with nerfstudio's trainer"
        ),
        "nerfstudio export": Entry(
            "nerfstudio.export:NerfstudioExport", "a mesh of what nerfstudio trained"
        ),
        "nerfstudio dataset": Entry(
            "nerfstudio.dataset:NerfstudioDataset",
            "views of a text-to-3d run with a transforms.json, for other tools",
        ),
        "text-to-svg": Entry(
            "distillation.text_to_svg:TextToSvgCommand",
            "a vector drawing from a prompt: SVG, PNG, animation",
        ),
        "trace": Entry("distillation.trace:Trace", "a clean vector drawing of an image"),
    },
    "What an image shows": {
        "classify": Entry("perception.classify:Classify", "which of your labels images show"),
        "rank": Entry("perception.rank:Rank", "images by how well they fit a text"),
        "segment": Entry("perception.segment:Segment", "which pixels of an image belong together"),
        "match": Entry("perception.match:Match", "where the points of one image are in another"),
        "features": Entry("perception.features:Features", "features of images, as files"),
        "energy": Entry(
            "perception.energy:Energy", "how likely a prior finds images, by three methods"
        ),
    },
    "Robot policies": {
        "policy collect": Entry(
            "policy.collect:PolicyCollect", "demonstrations of an expert in an environment"
        ),
        "policy inspect": Entry(
            "policy.inspect:PolicyInspect", "what demonstrations hold, and what is odd about them"
        ),
        "policy train": Entry("policy.train:PolicyTrain", "a policy from demonstrations"),
        "policy distill": Entry(
            "policy.distill:PolicyDistill", "a policy of one or two evaluations from one of many"
        ),
        "policy evaluate": Entry(
            "policy.evaluate:PolicyEvaluate", "let a policy act, and score it"
        ),
        "policy export": Entry(
            "policy.export:PolicyExport", "a policy as ONNX, for robots that have no torch"
        ),
    },
    "Runs": {
        "sweep": Entry("sweep.command:Sweep", "many runs of one command, several at once, on Ray"),
        "gallery": Entry("gallery:Gallery", "a page of runs that opens in any browser"),
    },
    "Priors": {
        "info": Entry("priors.info:Info", "what a prior is, and what its layers put out and cost"),
        "distill": Entry(
            "priors.distill:Distill", "train a prior of few sampling steps from one of many"
        ),
        "seal": Entry(
            "priors.seal:Seal", "checksums of a folder of weights, checked when it is loaded"
        ),
        "train-prior pictures": Entry(
            "priors.train:TrainPictures", "train a prior on captioned images of yours"
        ),
        "train-prior icons": Entry("priors.train:TrainIcons", "train the prior of icons"),
        "train-prior objects": Entry(
            "priors.train:TrainObjects", "train the prior of things, told the camera"
        ),
        "doctor": Entry("priors.doctor:Doctor", "versions, devices, memory, optional parts"),
        "train-prior shapes": Entry(
            "priors.train:TrainShapes", "train the embedded text-to-image prior"
        ),
        "train-prior digits": Entry(
            "priors.train:TrainDigits", "train the embedded prior of handwritten digits"
        ),
        "train-prior motion-broad": Entry(
            "priors.train:TrainMotionBroad", "train the embedded prior of videos of all domains"
        ),
        "train-prior motion-narrow": Entry(
            "priors.train:TrainMotionNarrow",
            "train the embedded prior of videos of one domain",
        ),
        "train-prior judge": Entry(
            "priors.train:TrainJudge", "train the classifier that judges evaluations"
        ),
    },
    "Evaluation": {
        "evaluate prior": Entry("evaluate.prior:EvaluatePrior", "score the samples of a prior"),
        "evaluate correspondence": Entry(
            "evaluate.correspondence:EvaluateCorrespondence",
            "points found on SPair-71k, PF-PASCAL or TSS",
        ),
        "evaluate segmentation": Entry(
            "evaluate.segmentation:EvaluateSegmentation",
            "regions against VOC, ADE20K, COCO-Stuff, Cityscapes or masks of yours",
        ),
        "evaluate classifier": Entry(
            "evaluate.classifier:EvaluateClassifier",
            "labels of images in folders, shards, tables",
        ),
        "evaluate text-to-3d": Entry(
            "evaluate.text_to_3d:EvaluateTextTo3D", "make and score a list of prompts"
        ),
        "evaluate text-to-svg": Entry(
            "evaluate.text_to_svg:EvaluateTextToSvg", "draw and score a list of prompts"
        ),
    },
}
"""Commands by the job they are for, in the order of `scorefield --help`."""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
"""All of them."""

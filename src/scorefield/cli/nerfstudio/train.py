"""`scorefield nerfstudio train`: distil a prompt with nerfstudio's trainer."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from scorefield.cli.command import Outcome, PriorCommand, check_folder, check_prompt
from scorefield.domains import Count, Positive
from scorefield.sds.nerf.nerfstudio.installed import aside, check_nerfstudio
from scorefield.sds.nerf.nerfstudio.settings import MethodSettings


@dataclass(frozen=True, kw_only=True)
class NerfstudioTrain(MethodSettings, PriorCommand):
    """Distil a prompt with nerfstudio's trainer, fields and random cameras.

    The same as `ns-train scorefield`, which has all of nerfstudio's options, but it also runs where
    torch is built for a CPU and torchvision is not.
    """

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """Thing to make, in quotes, such as "a red mushroom"."""
    out: Path
    """Folder of the run, new or empty; nerfstudio's files are in scorefield/run in it."""
    steps: Count = 300
    """Number of updates."""
    views: Count = 4
    """Number of random cameras per update."""
    size: Count = 64
    """Side of the rendered views, pixels."""
    learning_rate: Positive = 0.01
    """Learning rate of Adam at the start; it falls to a tenth along a cosine."""
    viewer: bool = False
    """Serve nerfstudio's viewer on this machine while the training goes on."""
    port: Count = 7007
    """Port of the viewer."""
    checkpoint_every: Count = 100
    """A checkpoint after every so many steps, and one at the end."""
    preview_every: Count = 100
    """A view for tensorboard after every so many steps."""
    resume: bool = False
    """Go on with the run in --out; without one there, begin."""

    def check(self) -> None:
        """Refuse what cannot be, before anything is loaded."""
        check_prompt(self.prompt)
        self.check_scale()
        check_folder(self.out, self.resume)

    def run(self) -> Outcome:
        """Train, and say where nerfstudio's config is."""
        check_nerfstudio()

        from scorefield.cli.loading import device_of, prior_of
        from scorefield.sds.nerf.nerfstudio.training import train

        device = device_of(self)
        if device.index not in (None, 0):
            raise ValueError(
                f"--device {self.device} cannot be used by nerfstudio; give cpu or cuda, and set "
                "CUDA_VISIBLE_DEVICES to choose the card"
            )
        prior = prior_of(self)
        with aside(self.quiet):
            config = train(self._config(device.type), prior)
        metrics = {"out": str(self.out), "prompt": self.prompt, "config": str(config)}
        return Outcome(metrics, [f"wrote {config}, which scorefield nerfstudio export reads"])

    def _config(self, device: str) -> Any:
        """nerfstudio's, of the method with what was said."""
        from scorefield.sds.nerf.nerfstudio.method import method

        config = method().config
        config.output_dir, config.experiment_name = self.out.absolute().parent, self.out.name
        config.timestamp = "run"
        config.prompt = self.prompt
        config.machine.device_type, config.machine.seed = device, self.seed
        config.max_num_iterations = self.steps
        config.steps_per_save = self.checkpoint_every
        config.steps_per_eval_image = self.preview_every
        config.vis = "viewer+tensorboard" if self.viewer else "tensorboard"
        config.viewer.websocket_host, config.viewer.websocket_port = "127.0.0.1", self.port
        config.viewer.quit_on_train_completion = True
        cameras, model = config.pipeline.datamanager, config.pipeline.model
        cameras.train_images_per_batch, cameras.train_resolution = self.views, self.size
        names = [one.name for one in fields(MethodSettings)]
        model.settings = MethodSettings(**{name: getattr(self, name) for name in names})
        model.prior, model.prompt = self.prior, self.prompt
        config.optimizers["fields"]["optimizer"].lr = self.learning_rate
        config.optimizers["background"]["optimizer"].lr = 0.1 * self.learning_rate
        return config

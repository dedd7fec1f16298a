"""`scorefield policy train`: a policy from demonstrations."""

import shlex
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scorefield.cli.command import (
    Outcome,
    check_folder,
    check_unused,
    options_of,
    under_way,
)
from scorefield.cli.policy.demonstrations import (
    DemonstrationsCommand,
    described,
    loaded,
    task_texts,
)
from scorefield.control.networks.settings import (
    EncoderSettings,
    LeRobotEncoderSettings,
    PerceptronSettings,
    Predicts,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.domains import Count, Positive, Share
from scorefield.locks import owned

if TYPE_CHECKING:
    from scorefield.control.data.episodes import Episodes
    from scorefield.control.data.formats import Choice, Demonstrations
    from scorefield.control.data.spaces import Horizons, PolicySpaces
    from scorefield.control.policies.diffusion_policy import DiffusionPolicy, NetworkSettings

NETWORKS: dict[str, Callable[[int], "NetworkSettings"]] = {
    "unet": lambda observed: UNet1DSettings(),
    "unet-paper": lambda observed: UNet1DSettings.paper_state(),
    "unet-paper-image": lambda observed: UNet1DSettings.paper_image(),
    "transformer": TransformerSettings,
    "transformer-paper": TransformerSettings.paper,
}
"""Sizes of the networks of Diffusion Policy, by how many observations are seen."""

_OF_PERCEPTRON = [name for name, _, _ in options_of(PerceptronSettings, "film")]
_OF_IMAGES = [name for name, _, _ in options_of(EncoderSettings, "width")]


@dataclass(frozen=True, kw_only=True)
class _PolicyTrain(DemonstrationsCommand):
    out: Path
    """Folder of the training, new or empty."""
    env: str | None = None
    """Environment the policy will act in: two-routes, avoiding, push-t, metaworld/TASK or gym:ID.
    Without it, observations and actions are those of the demonstrations, as for a robot of your
    own."""
    low: tuple[float, ...] | None = None
    """Without --env: least values of an action, one for all or one each; else the data's."""
    high: tuple[float, ...] | None = None
    """Without --env: greatest values of an action, one for all or one each; else the data's."""
    network: Literal[("perceptron", *NETWORKS)] = "perceptron"  # type: ignore[valid-type]
    """Network that denoises: a perceptron, with the options width and layers, or one of Diffusion
    Policy's; frequencies and bandwidth are for all but the paper's sizes."""
    predicts: Predicts = "x0"
    """Quantity that the network predicts; eps is the paper's, velocity trains a rectified flow."""
    normalizer: Annotated[
        Literal["minmax", "gaussian"], tyro.conf.arg(aliases=("--normaliser",))
    ] = "minmax"
    """How states and actions are normalised: by range, or by mean and standard deviation."""
    observe: Literal["state", "image", "both"] | None = None
    """Observations of the policy; without it, the state, with --cameras both, and images where
    there is no state. Images need demonstrations with them (policy collect --images)."""
    task_text: bool = False
    """Tell the policy the text of LeRobot's task, which it must then be told when it acts."""
    image_encoder: Literal["resnet", "lerobot"] = "resnet"
    """Network of the images: a ResNet18 with a spatial softmax, or LeRobot's, which has one more
    linear layer and can be written for LeRobot (policy export --format lerobot)."""
    resnet_width: Count = 64
    """Channels of the first stage of the image encoder; 64 is the published ResNet18."""
    track: str | None = None
    """Tracker of accelerate's, such as tensorboard, that the metrics go to as well."""
    held_out: Share = 0.1
    """Share of the episodes that nothing is learnt from, rounded down: their loss and the error of
    the actions are printed while it trains."""
    n_obs_steps: Annotated[Count, tyro.conf.arg(aliases=("--observed",))] = 2
    """Number of observations the policy sees, To."""
    n_action_steps: Annotated[Count, tyro.conf.arg(aliases=("--executed",))] = 8
    """Number of actions of a plan that are executed, Ta."""
    horizon: Annotated[Count | None, tyro.conf.arg(aliases=("--predicted",))] = None
    """Number of actions that are predicted, Tp. Without it, To - 1 + Ta, for a U-Net the next
    multiple of 4: states in the last Tp - Ta - To + 1 steps of an episode are in no window."""
    steps: Count = 3000
    """Updates; the learning rate's cosine ends there."""
    batch_size: Count = 256
    """Windows per update."""
    learning_rate: Positive = 1e-3
    """Peak of AdamW's rate."""
    resume: bool = False
    """Go on with the training in --out; without one there, begin."""

    def run(self) -> Outcome:
        """Train."""
        data = self.opened()
        return replace(self, observe=self.observe or self._seen_of(data))._train(data)

    def _train(self, data: "Demonstrations") -> Outcome:
        self._check_options()

        from scorefield.cli.loading import device_of, named_dtype
        from scorefield.control.data.inspection import of_ranges
        from scorefield.control.data.spaces import Horizons
        from scorefield.control.data.tasks import with_tasks
        from scorefield.control.data.windows import Windows
        from scorefield.control.training.held_out import last_metrics, told
        from scorefield.control.training.tracking import check_tracker
        from scorefield.control.training.train import check_fits, train_policy
        from scorefield.runs.distributed import DistributedContext
        from scorefield.training.settings import TrainingSettings

        processes = DistributedContext(device_of(self))
        if processes.first:
            check_folder(self.out, self.resume)
        horizons = Horizons(self.n_obs_steps, self.n_action_steps, self._horizon())
        choice, numbers = self._choice(data), self.numbers(data)
        episodes = loaded(data, choice, numbers)
        odd = [
            f"note: {line}"
            for name, rows in (("state", episodes.state), ("action", episodes.action))
            if name == "action" or self.observe != "image"
            for line in of_ranges(name, rows.min(axis=0), rows.max(axis=0))
        ]
        tasks: tuple[str, ...] = ()
        if self.task_text:
            episodes, tasks = with_tasks(episodes, task_texts(data, numbers))
        spaces = self._spaces(episodes, tasks)
        windows, held_out = Windows(episodes, horizons).split(self.held_out, self.seed)
        settings = TrainingSettings(
            self.steps,
            self.batch_size,
            self.learning_rate,
            ema=0.9999,  # the paper's
            seed=self.seed,
            device=str(device_of(self)),
            dtype=named_dtype(self, device_of(self)),
        )
        policy = self._policy(spaces, horizons)
        check_fits(policy, windows)
        if self.track is not None:
            check_tracker(self.track)
        about = [*described(data, choice, numbers), _bounds(spaces), *odd]
        if self.observe == "state" and any(
            data.features[name].kind == "images" for name in choice.left
        ):
            about.append("images are not looked at; --observe both does")
        if tasks:
            about.append(f"told one of {len(tasks)} tasks: {', '.join(map(repr, tasks))}")
        if spaces.images and self._encoder().prior is not None and self._encoder().crop < 1:
            about.append("--crop cuts anew at every update; with --crop 1 --prior sees images once")
        if processes.first:
            print("\n".join(about), flush=True)
        # Several processes of one training share the folder; the first one owns it.
        with owned(self.out) if processes.first else nullcontext(), under_way():
            train_policy(
                policy,
                windows,
                settings,
                self.out,
                held_out=held_out,
                resume=self.resume,
                progress=not self.quiet,
                tracker=self.track,
            )
        if not processes.first:
            return Outcome({}, [])
        path = self.out / "policy"
        found = last_metrics(self.out)
        metrics = {"out": str(path), "windows": len(windows), "steps": self.steps, **found}
        lines = [
            f"held-out {told(found)}"
            if held_out is not None
            else f"no episode is held out: {self.held_out} of {len(episodes)} is less than one"
        ]
        if self.env is not None:
            task = f" --task {shlex.quote(tasks[0])}" if len(tasks) > 1 else ""
            tries = f"scorefield policy evaluate {path} --env {self.env}{task} --out FOLDER"
            lines.append(f"wrote {path}; {tries} tries it")
        else:
            seen = [f"a state of {spaces.state} numbers"] if spaces.state else []
            seen += [f"camera {name}, {h} x {w}" for name, (h, w) in spaces.images.items()]
            lines += [
                f"it sees {'; '.join(seen)}",
                f"wrote {path}; scorefield.control.load_policy gives it to a loop of your own",
            ]
        return Outcome(metrics, lines)

    def _spaces(self, episodes: "Episodes", tasks: tuple[str, ...]) -> "PolicySpaces":
        """Of the environment; without one, of the demonstrations.

        Raises:
            ValueError: the demonstrations are of another environment, or the bounds do not fit.
        """
        from scorefield.cli.policy.environments import environment_of
        from scorefield.control.data.spaces import PolicySpaces
        from scorefield.control.environments.image_observations import VIEW, ImageObservationWrapper

        if self.env is None:
            return PolicySpaces.of(
                episodes,
                low=self.low,
                high=self.high,
                state=self.observe != "image",
                tasks=tasks,
            )
        check_unused(self, "policy train with --env, which says the bounds", "low", "high")
        environment = environment_of(self.env)
        if episodes.cameras:
            size = episodes.cameras[VIEW].shape[1]
            environment = ImageObservationWrapper(environment, size, state=self.observe == "both")
        sizes = (episodes.state.shape[1] - len(tasks), episodes.action.shape[1])
        expected = (environment.spaces.state, environment.spaces.action)
        if sizes[1] != expected[1] or (self.observe != "image" and sizes != expected):
            raise ValueError(
                f"{self.demonstrations} has states and actions of {sizes} numbers, {self.env} of "
                f"{expected}; the demonstrations are of another environment, or of a robot of your "
                "own: leave --env out"
            )
        state = environment.spaces.state + len(tasks)
        return replace(environment.spaces, state=state, tasks=tasks)

    def _check_options(self) -> None:
        """Refuses what nothing would read."""
        if self.observe == "image":
            check_unused(self, "--observe image, which has no state to tell it with", "task_text")
        if self.network != "perceptron":
            unused = _OF_PERCEPTRON if "-paper" in self.network else ["width", "layers"]
            check_unused(self, f"--network {self.network}", *unused)
        if self.observe == "state":
            check_unused(self, "--observe state", "image_encoder", "resnet_width", *_OF_IMAGES)
        elif self.image_encoder == "lerobot":
            read_by_ours = ("resnet_width", "prior", "layer", "fraction")
            check_unused(self, "--image-encoder lerobot, a ResNet18", *read_by_ours)
        elif self._encoder().prior is None:
            check_unused(self, "the ResNet, without --prior", "layer", "fraction")
        else:
            check_unused(self, "--prior", "resnet_width")

    def _horizon(self) -> int:
        """Tp: as short as can be, for episodes end before a long plan does."""
        if self.horizon is not None:
            return self.horizon
        least = self.n_obs_steps - 1 + self.n_action_steps
        return -(-least // 4) * 4 if self.network.startswith("unet") else least

    def _encoder(self) -> EncoderSettings:
        more = {name: getattr(self, name) for name in _OF_IMAGES}
        return EncoderSettings(self.resnet_width, **more)

    def _encoder_of(self, spaces: "PolicySpaces") -> EncoderSettings | LeRobotEncoderSettings:
        """How the images of these spaces are seen.

        Raises:
            ValueError: LeRobot's network is asked for, and the images are of several sizes.
        """
        encoder, sizes = self._encoder(), set(spaces.images.values())
        if self.image_encoder == "resnet" or not sizes:
            return encoder
        if len(sizes) > 1:
            raise ValueError(
                f"LeRobot wants the images of all cameras in one size, and {self.demonstrations} "
                f"has {dict(spaces.images)}; choose with --cameras"
            )
        height, width = (max(1, round(encoder.crop * side)) for side in sizes.pop())
        crop = None if encoder.crop == 1 else (height, width)
        return LeRobotEncoderSettings(keypoints=encoder.keypoints, crop=crop)

    def _policy(self, spaces: "PolicySpaces", horizons: "Horizons") -> "DiffusionPolicy":
        from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings

        settings = {name: getattr(self, name) for name in _OF_PERCEPTRON}
        network: NetworkSettings = PerceptronSettings(**settings)
        if self.network != "perceptron":
            network = NETWORKS[self.network](horizons.n_obs_steps)
            if network.frequencies is None:  # not one of the paper's
                found = {name: settings[name] for name in ("frequencies", "bandwidth")}
                network = replace(network, **found)
        diffusion = DiffusionSettings(self.predicts, normalizer=self.normalizer)
        encoder = self._encoder_of(spaces)
        return DiffusionPolicy(spaces, horizons, network, diffusion, encoder, seed=self.seed)

    def _seen_of(self, data: "Demonstrations") -> Literal["state", "image", "both"]:
        """What is seen of demonstrations unless it is said."""
        vectors = [one for one in data.features.values() if one.kind == "vector"]
        states = self.state or [one for one in vectors if one.role == "observation"]
        if not states:
            return "image"
        return "both" if self.cameras else "state"

    def _choice(self, data: "Demonstrations") -> "Choice":
        """What of the demonstrations is taken.

        Raises:
            ValueError: they hold no images that could be seen, or no features of the names.
        """
        from scorefield.control.environments.image_observations import VIEW

        if self.observe == "state":
            check_unused(self, "--observe state", "cameras")
            return data.choose(state=self.state, action=self.action, cameras=())
        if self.env is not None:
            check_unused(self, "policy train with --env, which shows a view", "cameras")
        if self.observe == "image":
            check_unused(self, "--observe image", "state")
        state = () if self.observe == "image" else self.state
        images = [name for name, one in data.features.items() if one.kind == "images"]
        if not images and not self.cameras:
            raise ValueError(f"{self.demonstrations} has no cameras; --observe state does without")
        choice = data.choose(state=state, action=self.action, cameras=self.cameras)
        if self.env is None:
            return choice
        if VIEW not in choice.cameras:
            raise ValueError(
                f"{self.demonstrations} has cameras {sorted(choice.cameras)}, and the "
                f"environments show {VIEW!r}; collect with --images 96, or leave --env out"
            )
        return data.choose(state=state, action=self.action, cameras=[choice.cameras[VIEW]])


def _bounds(spaces: "PolicySpaces") -> str:
    low, high = ([round(bound, 4) for bound in side] for side in (spaces.low, spaces.high))
    return f"its actions lie between {low} and {high}"


PolicyTrain = make_dataclass(
    "PolicyTrain",
    options_of(PerceptronSettings, "film") + options_of(EncoderSettings, "width"),
    bases=(_PolicyTrain,),
    frozen=True,
    kw_only=True,
)
PolicyTrain.__doc__ = """Train a diffusion policy on demonstrations.

    The finished policy is in OUT/policy, in safetensors and JSON. Under `torchrun` or `accelerate
    launch` several processes share every batch; the weights are the same but for rounding.
    """

"""A restatement of LeRobot's diffusion policy, with its names of weights, files and settings."""

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from reference_networks import ReferenceConv, ReferenceEmbedding
from safetensors.torch import save_file
from torch import Tensor, nn

from scorefield.priors.noise import keyed_noise

STATE, ENVIRONMENT, ACTION = "observation.state", "observation.environment_state", "action"
ROWS = 3


def settings_of(**changed: Any) -> dict[str, Any]:
    """config.json of a small policy of a state of 3 numbers and an environment of 2."""
    return {
        "type": "diffusion",
        "n_obs_steps": 2,
        "horizon": 8,
        "n_action_steps": 3,
        "input_features": {
            STATE: {"type": "STATE", "shape": [3]},
            ENVIRONMENT: {"type": "ENV", "shape": [2]},
        },
        "output_features": {ACTION: {"type": "ACTION", "shape": [2]}},
        "normalization_mapping": {
            "VISUAL": "MEAN_STD",
            "STATE": "MIN_MAX",
            "ENV": "MIN_MAX",
            "ACTION": "MIN_MAX",
        },
        "vision_backbone": "resnet18",
        "resize_shape": None,
        "crop_shape": None,
        "use_group_norm": True,
        "spatial_softmax_num_keypoints": 4,
        "use_separate_rgb_encoder_per_camera": False,
        "down_dims": [16, 32],
        "kernel_size": 5,
        "n_groups": 8,
        "diffusion_step_embed_dim": 16,
        "use_film_scale_modulation": True,
        "noise_scheduler_type": "DDPM",
        "num_train_timesteps": 100,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "epsilon",
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "num_inference_steps": 10,
        **changed,
    }


class Block(nn.Module):
    """`DiffusionConditionalResidualBlock1d`."""

    def __init__(self, before: int, after: int, condition: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.after, self.scaled = after, config["use_film_scale_modulation"]
        kernel, groups = config["kernel_size"], config["n_groups"]
        self.conv1 = ReferenceConv(before, after, kernel, groups)
        out = 2 * after if self.scaled else after
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(condition, out))
        self.conv2 = ReferenceConv(after, after, kernel, groups)
        self.residual_conv = nn.Conv1d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        out, film = self.conv1(x), self.cond_encoder(condition)[..., None]
        if self.scaled:
            out = film[:, : self.after] * out + film[:, self.after :]
        else:
            out = out + film
        shortcut: Tensor = self.residual_conv(x)
        return shortcut + self.conv2(out)


class Unet(nn.Module):
    """`DiffusionConditionalUnet1d`."""

    def __init__(self, config: dict[str, Any], condition: int) -> None:
        super().__init__()
        time, widths = config["diffusion_step_embed_dim"], config["down_dims"]
        size = config["output_features"][ACTION]["shape"][0]
        self.diffusion_step_encoder = nn.Sequential(
            ReferenceEmbedding(time),
            nn.Linear(time, 4 * time),
            nn.Mish(),
            nn.Linear(4 * time, time),
        )
        pairs = list(itertools.pairwise([size, *widths]))

        def blocks(before: int, after: int) -> list[nn.Module]:
            return [Block(one, after, time + condition, config) for one in (before, after)]

        self.down_modules = nn.ModuleList()
        for number, (before, after) in enumerate(pairs):
            last = number == len(widths) - 1
            shrink = nn.Identity() if last else nn.Conv1d(after, after, 3, 2, 1)
            self.down_modules.append(nn.ModuleList([*blocks(before, after), shrink]))
        self.mid_modules = nn.ModuleList(blocks(widths[-1], widths[-1]))
        self.up_modules = nn.ModuleList(
            nn.ModuleList([*blocks(2 * after, before), nn.ConvTranspose1d(before, before, 4, 2, 1)])
            for before, after in reversed(pairs[1:])
        )
        self.final_conv = nn.Sequential(
            ReferenceConv(widths[0], widths[0], config["kernel_size"]),
            nn.Conv1d(widths[0], size, 1),
        )

    def forward(self, sample: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        x, skips = sample.transpose(1, 2), []
        feature = torch.cat([self.diffusion_step_encoder(timestep.float()), condition], dim=-1)
        for first, second, down in self.down_modules:
            x = second(first(x, feature), feature)
            skips.append(x)
            x = down(x)
        for block in self.mid_modules:
            x = block(x, feature)
        for first, second, up in self.up_modules:
            x = up(second(first(torch.cat([x, skips.pop()], dim=1), feature), feature))
        return self.final_conv(x).transpose(1, 2)


class BasicBlock(nn.Module):
    """Of torchvision's ResNet18 and ResNet34."""

    def __init__(self, before: int, after: int, stride: int, group: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = norm(after, group)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = norm(after, group)
        self.downsample = None
        if stride != 1 or before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, norm(after, group))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


def norm(channels: int, group: bool) -> nn.Module:
    return nn.GroupNorm(channels // 16, channels) if group else nn.BatchNorm2d(channels)


class RgbEncoder(nn.Module):
    """`DiffusionRgbEncoder`."""

    def __init__(self, config: dict[str, Any], size: tuple[int, int]) -> None:
        super().__init__()
        self.resize, self.crop = config["resize_shape"], config["crop_shape"]
        group, keypoints = config["use_group_norm"], config["spatial_softmax_num_keypoints"]
        parts: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), norm(64, group)]
        parts += [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        before = 64
        depths = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}[config["vision_backbone"]]
        for stage, depth in enumerate(depths):
            after, blocks = 64 * 2**stage, []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(BasicBlock(before, after, stride, group))
                before = after
            parts.append(nn.Sequential(*blocks))
        self.backbone = nn.Sequential(*parts)
        self.pool = nn.Module()
        self.pool.nets = nn.Conv2d(512, keypoints, 1)
        height, width = (-(-side // 32) for side in (self.crop or self.resize or size))
        ys, xs = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        grid = torch.stack([xs.repeat(height), ys.repeat_interleave(width)], dim=1)
        self.pool.register_buffer("pos_grid", grid)
        self.out = nn.Linear(2 * keypoints, 2 * keypoints)

    def forward(self, x: Tensor) -> Tensor:
        if self.resize is not None:
            x = nn.functional.interpolate(x, tuple(self.resize), mode="bilinear", antialias=True)
        if self.crop is not None:
            h, w = self.crop
            top, left = (round((a - b) / 2.0) for a, b in zip(x.shape[2:], (h, w), strict=True))
            x = x[:, :, top : top + h, left : left + w]
        heat = self.pool.nets(self.backbone(x)).flatten(2).softmax(dim=-1)
        return torch.relu(self.out((heat @ self.pool.pos_grid).flatten(1)))


class LeRobotPolicy(nn.Module):
    """`DiffusionPolicy` between its pipelines, with random weights and statistics."""

    def __init__(self, config: dict[str, Any], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.config = config
        inputs = config["input_features"]
        self.cameras = [name for name, one in inputs.items() if one["type"] == "VISUAL"]
        self.diffusion = nn.Module()
        condition = inputs[STATE]["shape"][0]
        if self.cameras:
            size = tuple(inputs[self.cameras[0]]["shape"][1:])
            if config["use_separate_rgb_encoder_per_camera"]:
                encoders = [RgbEncoder(config, size) for _ in self.cameras]
                self.diffusion.rgb_encoder = nn.ModuleList(encoders)
            else:
                self.diffusion.rgb_encoder = RgbEncoder(config, size)
            condition += 2 * config["spatial_softmax_num_keypoints"] * len(self.cameras)
        if ENVIRONMENT in inputs:
            condition += inputs[ENVIRONMENT]["shape"][0]
        self.diffusion.unet = Unet(config, condition * config["n_obs_steps"])
        for name, tensor in self.diffusion.named_buffers():
            if name.endswith("running_mean"):
                tensor.copy_(0.1 * torch.randn_like(tensor))
            if name.endswith("running_var"):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
        self.stats: dict[str, dict[str, Tensor]] = {}
        for name, one in {**inputs, **config["output_features"]}.items():
            shape = (3, 1, 1) if one["type"] == "VISUAL" else tuple(one["shape"])
            low, span = torch.randn(shape), torch.rand(shape) + 0.5
            self.stats[name] = {"min": low, "max": low + span, "mean": low, "std": span}
        self.eval()

    def normalised(self, name: str, x: Tensor) -> Tensor:
        one = {**self.config["input_features"], **self.config["output_features"]}[name]
        mode, stats = self.config["normalization_mapping"].get(one["type"]), self.stats[name]
        if mode == "MEAN_STD":
            return (x - stats["mean"]) / (stats["std"] + 1e-8)
        if mode == "MIN_MAX":
            return 2 * (x - stats["min"]) / (stats["max"] - stats["min"]) - 1
        return x

    def condition(self, observation: dict[str, Tensor]) -> Tensor:
        """Of observations (B, To, ...) by LeRobot's names."""
        seen = {name: self.normalised(name, x) for name, x in observation.items()}
        parts = [seen[STATE]]
        for number, name in enumerate(self.cameras):
            encoder = self.diffusion.rgb_encoder
            if isinstance(encoder, nn.ModuleList):
                encoder = encoder[number]
            features = encoder(seen[name].flatten(0, 1))
            parts.append(features.unflatten(0, seen[name].shape[:2]))
        if ENVIRONMENT in seen:
            parts.append(seen[ENVIRONMENT])
        return torch.cat(parts, dim=-1).flatten(1)

    @torch.no_grad()
    def act(self, observation: dict[str, Tensor], noise: Tensor) -> Tensor:
        """The actions to execute, from noise (B, steps, Tp, A), of which DDIM takes the first."""
        config, condition = self.config, self.condition(observation)
        kind = {"DDPM": DDPMScheduler, "DDIM": DDIMScheduler}[config["noise_scheduler_type"]]
        scheduler = kind(
            num_train_timesteps=config["num_train_timesteps"],
            beta_schedule=config["beta_schedule"],
            clip_sample=True,
            prediction_type=config["prediction_type"],
        )
        scheduler.set_timesteps(config["num_inference_steps"] or config["num_train_timesteps"])
        z = noise[:, 0]
        for number, timestep in enumerate(scheduler.timesteps):
            out = self.diffusion.unet(z, timestep.expand(len(z)), condition)
            if isinstance(scheduler, DDIMScheduler):
                z = scheduler.step(out, timestep, z).prev_sample
                continue
            # it draws the noise itself: of the two, what is given stays
            state = torch.random.get_rng_state()
            z = scheduler.step(out, timestep, z).prev_sample
            torch.random.set_rng_state(state)
            if timestep > 0:
                drawn = torch.randn(z.shape)
                z = z + scheduler._get_variance(timestep) ** 0.5 * (noise[:, number + 1] - drawn)
        first = config["n_obs_steps"] - 1
        z, stats = z[:, first : first + config["n_action_steps"]], self.stats[ACTION]
        if config["normalization_mapping"]["ACTION"] == "MEAN_STD":
            return z * stats["std"] + stats["mean"]
        return (z + 1) / 2 * (stats["max"] - stats["min"]) + stats["min"]

    def save(self, folder: Path, *, buffers: bool = False) -> Path:
        """As `save_pretrained` does with its pipelines; with `buffers`, as before 0.4."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        state = {name: x.clone() for name, x in self.state_dict().items()}
        if buffers:
            for name, stats in self.stats.items():
                side = "unnormalize_outputs" if name == ACTION else "normalize_inputs"
                for kind, x in stats.items():
                    state[f"{side}.buffer_{name.replace('.', '_')}.{kind}"] = x.clone()
        else:
            flat = {
                f"{n}.{kind}": x.clone() for n, s in self.stats.items() for kind, x in s.items()
            }
            self._pipeline(folder, "policy_preprocessor", 3, "normalizer_processor", flat)
            self._pipeline(folder, "policy_postprocessor", 0, "unnormalizer_processor", flat)
        save_file(state, folder / "model.safetensors")
        return folder

    def _pipeline(
        self, folder: Path, name: str, place: int, step: str, flat: dict[str, Tensor]
    ) -> None:
        steps: list[dict[str, Any]] = [
            {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
            {"registry_name": "to_batch_processor", "config": {}},
            {"registry_name": "device_processor", "config": {"device": "cpu"}},
        ][: place or 0]
        file = f"{name}_step_{place}_{step}.safetensors"
        steps.append({"registry_name": step, "config": {"eps": 1e-8}, "state_file": file})
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "steps": steps}))
        save_file(flat, folder / file)


def camera(*names: str, size: tuple[int, int] = (33, 40)) -> dict[str, Any]:
    """Features of a state and cameras, not in the order of their names."""
    images = {name: {"type": "VISUAL", "shape": [3, *size]} for name in names}
    return {"input_features": {STATE: {"type": "STATE", "shape": [3]}, **images}}


def observations(reference: LeRobotPolicy) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same by LeRobot's names and by ours."""
    torch.manual_seed(1)
    theirs, steps = {}, reference.config["n_obs_steps"]
    for name, one in reference.config["input_features"].items():
        shape = (ROWS, steps, *one["shape"])
        stats = reference.stats[name]
        inside = torch.rand(shape)
        vector = stats["min"] + inside * (stats["max"] - stats["min"])
        theirs[name] = inside if one["type"] == "VISUAL" else vector
    vectors = [theirs[name] for name in (STATE, ENVIRONMENT) if name in theirs]
    ours = {name.split(".")[-1]: x for name, x in theirs.items() if name in reference.cameras}
    return theirs, {"state": torch.cat(vectors, dim=-1), **ours}


def noise_of(reference: LeRobotPolicy) -> Tensor:
    config = reference.config
    steps = config["num_inference_steps"] or config["num_train_timesteps"]
    draws = (steps,) if config["noise_scheduler_type"] == "DDPM" else ()
    noise = keyed_noise(4, range(ROWS), 0, (*draws, config["horizon"], 2))
    return noise if draws else noise[:, None]


IMAGES: dict[str, dict[str, Any]] = {
    "one": camera("observation.image"),
    "frozen-crop": camera("observation.images.top")
    | {"use_group_norm": False, "crop_shape": [30, 37]},
    "two-separate": camera("observation.images.wrist", "observation.images.arm")
    | {"use_separate_rgb_encoder_per_camera": True, "resize_shape": [24, 28]},
    "two-shared": camera("observation.images.wrist", "observation.images.arm"),
}

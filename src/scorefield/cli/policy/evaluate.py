"""`scorefield policy evaluate`: a policy acts, and its metrics are told with intervals."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scorefield.cli.command import (
    Command,
    Outcome,
    check_folder,
    check_unused,
    under_way,
)
from scorefield.domains import Count, Whole
from scorefield.files import write_json
from scorefield.locks import owned


@dataclass(frozen=True, kw_only=True)
class PolicyEvaluate(Command):
    """Let a policy act in an environment, many episodes side by side, and score it.

    OUT gets results.json and episodes.json, an image of the paths on the planar tasks, and a
    video if it is asked for.
    """

    policy: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="POLICY")]
    """Folder of the policy, or of its training."""
    env: str
    """Environment to act in: two-routes, avoiding, push-t, metaworld/TASK, or gym:ID for any other
    that is registered with gymnasium and takes a bounded Box, such as gym:Pendulum-v1."""
    out: Path
    """Folder of the evaluation, new or empty."""
    episodes: Count = 50
    """Number of episodes."""
    first: Whole = 100_000
    """Seed of the first episode; the others follow. Not those of the demonstrations."""
    batch: Count = 50
    """Episodes that run side by side; the results do not depend on it."""
    task: str | None = None
    """Task to tell a policy that was trained with --task-text, in the words of its demonstrations;
    needed where it knows several."""
    n_action_steps: Annotated[Count | None, tyro.conf.arg(aliases=("--executed",))] = None
    """Actions of a plan that are executed; without it, as many as in training."""
    delay: Whole = 0
    """Steps that planning takes, while the plan before goes on."""
    follow: Literal["nothing", "real-time", "warm-start"] = "nothing"
    """How a new plan follows the one before: real-time freezes what --delay decides."""
    videos: Whole = 0
    """Number of episodes to write a video of, side by side."""

    def run(self) -> Outcome:
        """Evaluate."""
        check_unused(self, "policy evaluate", "dtype")
        check_folder(self.out)

        from scorefield.cli.loading import device_of
        from scorefield.cli.policy.environments import PLANAR, environment_of
        from scorefield.control.environments.image_observations import VIEW, ImageObservationWrapper
        from scorefield.control.environments.task_observations import TaskObservationWrapper
        from scorefield.control.evaluation.drawing import draw_paths, write_video
        from scorefield.control.evaluation.rollout import check_delay, latency, roll_out
        from scorefield.control.evaluation.scores import score
        from scorefield.control.policies.denoising import RealTime, WarmStart
        from scorefield.control.policies.loading import load_policy

        policy = load_policy(self.policy).to(device_of(self))
        task = self._task(policy.spaces.tasks)
        environment = environment_of(self.env)
        if VIEW in policy.spaces.images and VIEW not in environment.spaces.images:
            size, _ = policy.spaces.images[VIEW]
            states = policy.spaces.state > len(policy.spaces.tasks)
            environment = ImageObservationWrapper(environment, size, state=states)
        if task is not None:
            environment = TaskObservationWrapper(environment, task, policy.spaces.tasks)
        policy.spaces.check(environment.spaces)
        if self.n_action_steps is not None:
            policy.horizons = replace(policy.horizons, n_action_steps=self.n_action_steps)
        check_delay(self.delay, policy.horizons)
        follow = {"nothing": None, "real-time": RealTime(self.delay), "warm-start": WarmStart()}[
            self.follow
        ]
        with owned(self.out), under_way():
            rollouts = roll_out(
                policy,
                environment,
                range(self.first, self.first + self.episodes),
                seed=self.seed,
                batch=self.batch,
                frames=self.videos,
                delay=self.delay,
                follow=follow,
                progress=not self.quiet,
            )
            scores = score(
                rollouts,
                environment.spaces,
                environment.modes,
                policy.horizons.n_action_steps,
                delay=self.delay,
            )
            seconds = statistics.median(latency(policy, environment, seed=self.first))
            told = {} if task is None else {"task": task}
            metrics = {**told, **scores.as_json(), "latency": seconds}
            written = ["results.json", "episodes.json"]
            write_json(self.out / "results.json", metrics)
            each = [
                {
                    "seed": one.seed,
                    "success": one.success,
                    "steps": len(one.actions),
                    "reward": float(one.rewards.sum()),
                    "best_reward": float(one.rewards.max()),
                    "mode": one.mode,
                }
                for one in rollouts
            ]
            write_json(self.out / "episodes.json", each)
            if self.env in PLANAR:
                draw_paths(PLANAR[self.env], {self.env: rollouts}, self.out / "paths.png")
                written.append("paths.png")
            if self.videos:
                shown = rollouts[: self.videos]
                write_video(shown, self.out / "episodes.gif", environment.spaces.rate or 10.0)
                written.append("episodes.gif")
        low, high = scores.success_interval
        best_low, best_high = scores.best_reward_interval
        lines = [] if task is None else [f"told: {task}"]
        lines += [
            f"success: {scores.success:.3f} ({low:.3f} to {high:.3f}) of {scores.episodes}",
            f"best reward: {scores.best_reward:.3f} ({best_low:.3f} to {best_high:.3f})",
            f"roughness: {scores.roughness:.4f}, at the seams of chunks {scores.jump:.2f} times",
            f"latency: {1e3 * seconds:.1f} ms per chunk of "
            f"{policy.horizons.n_action_steps} actions",
        ]
        if self.env.startswith("gym:"):
            returns = [float(one.rewards.sum()) for one in rollouts]
            lines.insert(2 + len(told), f"mean return: {statistics.fmean(returns):.4g}")
            if scores.success == 0:
                lines.append(f"{self.env} reports no success (is_success in its info)")
        if scores.modes:
            lines.append(
                f"ways: {scores.coverage} of {len(scores.modes)}, entropy {scores.entropy:.3f}"
            )
        lines += [f"wrote {self.out / name}" for name in written]
        return Outcome({"out": str(self.out), **metrics}, lines)

    def _task(self, tasks: Sequence[str]) -> str | None:
        """The task that the policy is told; None for one that is told none.

        Raises:
            ValueError: it knows no such task, or several and none is named.
        """
        from scorefield.control.data.tasks import task_numbers

        known = ", ".join(map(repr, tasks))
        if not tasks:
            if self.task is not None:
                raise ValueError(
                    f"--task: {self.policy} was trained without --task-text and is told no task"
                )
            return None
        if self.task is None and len(tasks) > 1:
            raise ValueError(f"{self.policy} is told a task: say with --task which of {known}")
        task = tasks[0] if self.task is None else self.task
        try:
            task_numbers(task, tasks)
        except ValueError as error:
            raise ValueError(f"--task: {error}") from error
        return task

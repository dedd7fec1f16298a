"""What is said of 16 bits on a CPU that has no instructions for them."""

from typing import Any

import pytest
import torch

from scorefield.cli import loading
from scorefield.cli.command import Command
from scorefield.cli.loading import named_dtype
from scorefield.devices import emulates

OLD = {"architecture": "x86_64", "avx2": True, "amx_bf16": False, "avx512_bf16": False}


def told(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize(
    ("capabilities", "dtype", "device", "emulated"),
    [
        (OLD, torch.bfloat16, "cpu", True),
        (OLD, torch.float16, "cpu", True),
        (OLD, torch.float32, "cpu", False),
        (OLD, torch.bfloat16, "cuda", False),
        (OLD | {"avx512_bf16": True}, torch.bfloat16, "cpu", False),
        (OLD | {"avx512_bf16": True}, torch.float16, "cpu", True),
        (OLD | {"amx_bf16": True}, torch.bfloat16, "cpu", False),
        (OLD | {"avx512_fp16": True}, torch.float16, "cpu", False),
        ({"architecture": "aarch64"}, torch.bfloat16, "cpu", False),
        ({}, torch.bfloat16, "cpu", False),
    ],
)
def test_which_cpus_emulate_16_bits(
    capabilities: dict[str, Any],
    dtype: torch.dtype,
    device: str,
    emulated: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told(monkeypatch, capabilities)
    assert emulates(dtype, device) is emulated


def test_slow_16_bits_are_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, OLD)
    loading._tell_of_emulation.cache_clear()
    for _ in range(2):
        assert named_dtype(Command(dtype="bfloat16"), torch.device("cpu")) is torch.bfloat16
    assert capsys.readouterr().err == (
        "scorefield: note: this CPU has no instructions for bfloat16, and takes several times as "
        "long with it; --dtype float32 is faster here\n"
    )
    named_dtype(Command(), torch.device("cpu"))
    assert capsys.readouterr().err == ""

"""GPU facts from a stand-in for NVML's bindings: what a card does not tell is unknown, and a failing driver is no empty machine."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from apps.agent.gpus import FakeGpus, NoGpus, NvmlGpus, gpus_found


class NVMLError(Exception):
    pass


class Bindings:
    """The functions of ``pynvml`` that are asked, one card; ``mute``: names of those that the card does not support."""

    NVMLError = NVMLError

    def __init__(self, *mute: str) -> None:
        self.mute = set(mute)
        self.broken = False
        self.xids = [79]

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlInit": None, "nvmlSystemGetDriverVersion": b"570.1", "nvmlSystemGetCudaDriverVersion_v2": 12080, "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": "card", "nvmlDeviceGetUUID": "GPU-1", "nvmlDeviceGetName": "NVIDIA H200",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=150, used=30), "nvmlDeviceGetPowerUsage": 350_500,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40), "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetCudaComputeCapability": (9, 0), "nvmlDeviceGetTemperature": 61, "nvmlDeviceGetTotalEccErrors": 0,
            "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=7, usedGpuMemory=None)], "nvmlEventSetCreate": "events",
            "nvmlDeviceRegisterEvents": None,
        }  # fmt: skip

        def answer(*arguments: Any) -> Any:
            if self.broken or name in self.mute:
                raise NVMLError("Not Supported")
            if name == "nvmlEventSetWait_v2":
                if not self.xids:
                    raise NVMLError("Timeout")
                return SimpleNamespace(device="card", eventData=self.xids.pop())
            return answers[name]

        return answer


def test_every_field() -> None:
    gpus = NvmlGpus(Bindings())
    gpus.seen()
    (card,) = gpus.seen().gpus
    assert (card.uuid, card.name, card.memory_total, card.memory_used) == ("GPU-1", "NVIDIA H200", 150, 30)
    assert (card.utilisation, card.memory_utilisation, card.power, card.power_limit, card.temperature) == (0.97, 0.4, 350.5, 700.0, 61.0)
    assert (card.driver_version, card.cuda_version, card.compute_capability) == ("570.1", "12.8", "9.0")
    assert (card.ecc_corrected, card.ecc_uncorrected, card.xids) == (0, 0, [79]) and not card.simulated
    assert card.processes is not None and card.processes[0].pid == 7 and card.processes[0].memory is None


def test_what_a_card_does_not_tell_is_unknown() -> None:
    mute = (
        "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature",
        "nvmlDeviceGetTotalEccErrors", "nvmlDeviceRegisterEvents", "nvmlDeviceGetComputeRunningProcesses", "nvmlSystemGetDriverVersion",
    )  # fmt: skip
    (card,) = NvmlGpus(Bindings(*mute)).seen().gpus
    told = (
        card.memory_total,
        card.utilisation,
        card.power,
        card.temperature,
        card.ecc_uncorrected,
        card.xids,
        card.processes,
        card.driver_version,
    )
    assert told == (None,) * 8 and card.power_limit == 700.0


def test_a_driver_that_fails_is_a_problem() -> None:
    bindings = Bindings()
    bindings.broken = True
    seen = NvmlGpus(bindings).seen()
    assert seen.gpus == [] and "nvidia-smi" in seen.problem


def test_which_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(gpus_found("none"), NoGpus) and gpus_found("none").seen() == ([], "")
    fake = gpus_found("fake:2")
    assert isinstance(fake, FakeGpus) and all(card.simulated for card in fake.seen().gpus) and len(fake.seen().gpus) == 2
    monkeypatch.setitem(sys.modules, "pynvml", Bindings())
    assert isinstance(gpus_found("auto"), NvmlGpus)
    broken = Bindings()
    broken.broken = True
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    assert "Not Supported" in gpus_found("auto").seen().problem

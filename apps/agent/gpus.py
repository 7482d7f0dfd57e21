"""What the GPUs say: through NVML (``pip install nvidia-ml-py``) where there are any, nothing where there are none, and a fake for tests.

What a card or driver does not tell is None. A machine whose driver fails is told apart from one without GPUs: its facts carry the problem.
"""

from __future__ import annotations

import contextlib
import importlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from apps.contracts.fleet_facts import GpuFacts, GpuProcess

XIDS_KEPT = 20
_XID_EVENT = 8
"""``nvmlEventTypeXidCriticalError``."""


class Seen(NamedTuple):
    """problem: why GPUs cannot be seen; "" where they can, or there are none."""

    gpus: list[GpuFacts]
    problem: str = ""


class Gpus(Protocol):
    """Asked from one thread at a time; may block for some milliseconds."""

    def seen(self) -> Seen: ...


class NoGpus:
    """A machine that has none, or shall not use them. problem: why."""

    def __init__(self, problem: str = "") -> None:
        self._problem = problem

    def seen(self) -> Seen:
        return Seen([], self._problem)


class FakeGpus:
    """``count`` made-up cards, marked as simulated in every fact."""

    def __init__(self, count: int, memory: int = 80 * 2**30) -> None:
        self.cards = [
            GpuFacts(uuid=f"GPU-fake-{index}", index=index, name="Simulated GPU", memory_total=memory, memory_used=0, simulated=True)
            for index in range(count)
        ]
        self.problem = ""

    def seen(self) -> Seen:
        return Seen([] if self.problem else list(self.cards), self.problem)


class NvmlGpus:
    """The real ones. ``nvml``: the module ``pynvml``, already initialised."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._xids: dict[str, deque[int]] = {}
        self._events: Any = None
        self._watched: set[str] = set()

    def seen(self) -> Seen:
        nvml = self._nvml
        try:
            driver = self._ask(nvml.nvmlSystemGetDriverVersion)
            cuda = self._ask(nvml.nvmlSystemGetCudaDriverVersion_v2)
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            found = [self._facts(index, handle, driver, cuda) for index, handle in enumerate(handles)]
        except nvml.NVMLError as error:
            return Seen([], f"NVML: {error}. Look at the machine's driver: nvidia-smi says more.")
        self._collect()
        return Seen(found)

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """None where this card or driver does not tell."""
        try:
            return call(*arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None

    def _facts(self, index: int, handle: Any, driver: Any, cuda: Any) -> GpuFacts:
        nvml, ask = self._nvml, self._ask
        uuid = _text(nvml.nvmlDeviceGetUUID(handle)) or f"GPU-index-{index}"
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        use = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power, limit = ask(nvml.nvmlDeviceGetPowerUsage, handle), ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        capability = ask(nvml.nvmlDeviceGetCudaComputeCapability, handle)
        temperature = ask(nvml.nvmlDeviceGetTemperature, handle, 0)
        processes = ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        watched = self._watch(uuid, handle)
        return GpuFacts(
            uuid=uuid,
            index=index,
            name=_text(ask(nvml.nvmlDeviceGetName, handle)) or "unknown",
            memory_total=None if memory is None else int(memory.total),
            memory_used=None if memory is None else int(memory.used),
            utilisation=None if use is None else use.gpu / 100,
            memory_utilisation=None if use is None else use.memory / 100,
            power=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
            temperature=None if temperature is None else float(temperature),
            ecc_corrected=ask(nvml.nvmlDeviceGetTotalEccErrors, handle, 0, 0),
            ecc_uncorrected=ask(nvml.nvmlDeviceGetTotalEccErrors, handle, 1, 0),
            xids=list(self._xids[uuid]) if watched else None,
            driver_version=_text(driver),
            cuda_version=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
            processes=None if processes is None else [GpuProcess(pid=one.pid, memory=one.usedGpuMemory) for one in processes][:200],
        )

    def _watch(self, uuid: str, handle: Any) -> bool:
        """Ask to be told of this card's XID errors; whether it tells."""
        if uuid in self._watched:
            return uuid in self._xids
        self._watched.add(uuid)
        if self._events is None:
            self._events = self._ask(self._nvml.nvmlEventSetCreate)
        if self._events is None:
            return False
        try:
            self._nvml.nvmlDeviceRegisterEvents(handle, _XID_EVENT, self._events)
        except self._nvml.NVMLError:
            return False
        self._xids[uuid] = deque(maxlen=XIDS_KEPT)
        return True

    def _collect(self) -> None:
        """Take what has come in, without waiting."""
        for _ in range(100):
            if not self._xids:
                return
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, 0)
            except self._nvml.NVMLError:  # nothing is there
                return
            uuid = _text(self._ask(self._nvml.nvmlDeviceGetUUID, event.device))
            if uuid in self._xids:
                self._xids[uuid].append(int(event.eventData))


def gpus_found(wish: str) -> Gpus:
    """``auto``: NVML where its library is, else none. ``none``. ``fake:N``."""
    if wish == "none":
        return NoGpus()
    if wish.startswith("fake:"):
        return FakeGpus(int(wish.removeprefix("fake:")))
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        with contextlib.suppress(OSError), open("/proc/driver/nvidia/version", encoding="utf-8"):
            return NoGpus("This machine has an NVIDIA driver, and the agent no nvidia-ml-py to ask it. Install it beside the agent.")
        return NoGpus()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        missing = "Library Not Found" in str(error) or "Driver Not Loaded" in str(error)
        return NoGpus("" if missing else f"NVML: {error}. Look at the machine's driver: nvidia-smi says more.")
    return NvmlGpus(nvml)


def _text(value: Any) -> str | None:
    """NVML's strings are bytes in older bindings."""
    if value is None:
        return None
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))[:200]

"""``manage.py status``: each process, the ports, the versions, and whether every proxy takes requests."""

from __future__ import annotations

import asyncio
import platform
from importlib import metadata
from typing import Any

from controlplane.launcher import preflight, probe
from controlplane.launcher.instance import Instance, process_state


async def status(instance: Instance) -> dict[str, Any]:
    """``running``: a launcher holds the data directory. ``ok``: and everything it should run runs and answers."""
    facts = instance.read()
    launcher = instance.launcher()
    found: dict[str, Any] = {
        "running": launcher is not None,
        "ok": False,
        "data_dir": str(instance.data_dir),
        "launcher": launcher,
        "processes": [{"name": name, "pid": pid, "state": process_state(pid)} for name, pid in facts.get("pids", {}).items()],
        "proxies": [],
        "ports": facts.get("ports", {}),
        "versions": {"python": platform.python_version()},
    }
    if launcher is None or not facts:
        return found
    answers = await asyncio.gather(*(probe.get_json(f"{one['admin_url']}/readyz") for one in facts["proxies"]))
    for one, (code, answer) in zip(facts["proxies"], answers, strict=True):
        found["proxies"].append({**one, "ready": code == 200, "serves": probe.serves(code, answer), "detail": answer})
    web, _ = await probe.get(f"{facts['web_url']}/healthz")
    found["web"] = {"url": facts["web_url"], "ready": web == 200}
    found["proxy_url"] = facts["proxy_url"]
    found["versions"] |= _versions(facts)
    found["ok"] = (
        web == 200
        and all(one["serves"] for one in found["proxies"])
        and all(one["state"] == "running" for one in found["processes"])
        and not any(version.startswith("unreachable") for version in found["versions"].values())
    )
    return found


def _versions(facts: dict[str, Any]) -> dict[str, str]:
    versions = {}
    try:
        versions["postgresql"] = preflight.check_database(facts["database_url"])[0]
    except preflight.PreflightError:
        versions["postgresql"] = "unreachable"
    try:
        versions["redis"] = preflight.check_redis(facts["redis_url"])
    except preflight.PreflightError:
        versions["redis"] = "unreachable"
    for package in ("django", "celery", "uvicorn"):
        versions[package] = metadata.version(package)
    return versions


def as_text(found: dict[str, Any]) -> str:
    if not found["running"]:
        return f"Bulkhead is not running on {found['data_dir']}: `make up` starts it."
    if not found["processes"]:
        return f"Bulkhead on {found['data_dir']} is starting or stopping (launcher process {found['launcher']})."
    lines = [f"Bulkhead on {found['data_dir']}: {'everything answers' if found['ok'] else 'NOT everything answers'}", ""]
    lines += [f"  {one['name']:<12} {one['pid'] or '-':>8}  {one['state']}" for one in found["processes"]]
    lines += ["", f"  dashboard    {found['web']['url']}  {_word(found['web']['ready'])}", f"  proxy        {found['proxy_url']}"]
    lines += [f"  {one['name']:<12} {one['admin_url']}  {_proxy_word(one)}" for one in found["proxies"]]
    lines += ["", "  " + "  ".join(f"{name} {version}" for name, version in found["versions"].items())]
    return "\n".join(lines)


def _word(ready: bool) -> str:
    return "ready" if ready else "NOT ready"


def _proxy_word(one: dict[str, Any]) -> str:
    reasons = one["detail"].get("reasons") or []
    return "ready" if one["ready"] else f"NOT ready: {', '.join(map(str, reasons)) or 'no answer'}"

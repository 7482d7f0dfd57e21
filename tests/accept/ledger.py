"""What must be true of an instance's books once everything is settled, whatever was done to its processes."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

from apps.contracts.identifiers import uuid_text
from apps.contracts.journal import FIRST_OFFSET, TornFrame, is_sealed, read_frames, segment_number
from apps.contracts.usage import OpenRecord, decode_record
from controlplane.launcher import death
from tests.accept.conftest import Instance
from tests.accept.load import Crowd
from tests.launcher.conftest import wait_for

FAULTS = re.compile(
    r'Traceback \(most recent call last\)|failed inside the proxy|never retrieved|\b(ERROR|CRITICAL)\b|"level":"(error|critical)"'
)
NOT_OURS = ("postgres", "redis", "up")
"""The stores' own logs tell of connections that died with their clients; ``up`` repeats the others'."""


BELONGS = {
    "organisation": "%s = ''",
    "key": "key_id = %s",
    "team": "team = (SELECT slug FROM ownership_team WHERE id::text = %s)",
}
"""Whose records a budget counts, by its scope."""


def journal_opens(directory: Path) -> dict[str, int]:
    """A dead proxy's journal, read here from its first byte: request id -> reserved nano-dollars of each open that no record closed."""
    opens: dict[str, int] = {}
    numbers = sorted(number for name in os.listdir(directory) if (number := segment_number(name)) is not None)
    names = {segment_number(name): name for name in os.listdir(directory)}
    for number in numbers:
        with (directory / names[number]).open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        offset = FIRST_OFFSET
        with contextlib.suppress(TornFrame):
            for payload, following in read_frames(view, offset):
                offset = following
                record = decode_record(payload)
                if isinstance(record, OpenRecord):
                    opens[uuid_text(record.id)] = opens.get(uuid_text(record.id), 0) + record.reserved_nano
                else:
                    opens.pop(uuid_text(record.id), None)
        if not is_sealed(view, offset):
            break
    return opens


@contextlib.contextmanager
def shipper_stopped(one: Instance) -> Iterator[None]:
    """The shipper sleeps inside the block, so that a journal can be read before it is deleted."""
    pid = one.pid("shipper")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill_proxy(one: Instance, name: str) -> dict[str, int]:
    """SIGKILL one proxy. The opens without a close that it left, as ``journal_opens`` reads them."""
    pid = one.pid(name)
    journal = _journal_of(one, pid)
    with shipper_stopped(one):
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not death.alive(pid), what=f"the end of {name}")
        return journal_opens(journal) if journal is not None else {}


def _journal_of(one: Instance, pid: int) -> Path | None:
    """The journal that a process holds open; None while it has none."""
    root = str(one.data_dir / "journal")
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if (target := os.readlink(entry.path)).startswith(root):
                return Path(target).parent
    return None


def wait_settled(one: Instance, *crowds: Crowd, seconds: float = 60) -> None:
    """Until the proxies are ready, every answered request is in Postgres, the dead are buried, and unused leases are back."""
    wait_for(lambda: all(p.get("ready") for p in one.readiness().values()), seconds=seconds, what="every proxy is ready again")
    asked = {id for crowd in crowds for id in crowd.recorded}
    missing: set[str] = set()

    def recorded() -> bool:
        nonlocal missing
        missing = asked - {row[0] for row in one.query("SELECT id::text FROM usage_request")}
        return not missing

    try:
        wait_for(recorded, seconds=seconds, what="every answered request is in the database")
    except AssertionError as error:
        examples = [(id, _answer(id, crowds)) for id in [*missing][:3]]
        shipper = (one.data_dir / "run" / "shipper.json").read_text() + (one.data_dir / "log" / "shipper.log").read_text()[-2000:]
        raise AssertionError(f"{error}; missing {len(missing)} of {len(asked)}: {examples}; the shipper says {shipper}") from None
    proxies = len(one.facts["proxies"])
    wait_for(
        lambda: one.query("SELECT count(*) FROM publishing_proxy WHERE gone_at IS NULL")[0][0] == proxies,
        seconds=seconds,
        what="the dead proxies' journals are settled to their end",
    )
    assert one.query("SELECT count(*) FROM settlement_journal WHERE state = 'live'")[0][0] == proxies
    wait_for(
        lambda: one.query("SELECT coalesce(sum(leased_nano), 0) FROM budgets_budgetwindow")[0][0] == 0,
        seconds=seconds,
        what="every lease that is not used has come back",
    )


def _answer(id: str, crowds: tuple[Crowd, ...]) -> object:
    return next(crowd.answered[id] for crowd in crowds if id in crowd.answered)


def check_answers(one: Instance, crowd: Crowd) -> None:
    """Each answer is recorded once, as it was given: status, code and cost. Nothing that was answered is 'unknown'."""
    assert crowd.twice == []
    rows = one.query("SELECT id::text, outcome, status, error_code, cost_nano FROM usage_request")
    assert len({row[0] for row in rows}) == len(rows), "a request is recorded twice"
    found = {row[0]: row[1:] for row in rows}
    for id in crowd.recorded:
        answer = crowd.answered[id]
        outcome, status, code, cost = found[id]
        if answer.whole:
            assert (status, code) == (answer.status, answer.code), (id, answer, found[id])
            assert outcome == ("ok" if answer.status == 200 else outcome) and outcome != "unknown", (id, answer, found[id])
        assert answer.cost is None or answer.cost == cost, (id, answer, found[id])


def check_unknown(one: Instance, expected: dict[str, int]) -> None:
    """The unknown outcomes are exactly the opens that dead proxies left, each at its reservation."""
    rows = one.query("SELECT id::text, cost_nano FROM usage_request WHERE outcome = 'unknown'")
    assert dict(rows) == expected


def check_bill(one: Instance, key: str, unknown: dict[str, int]) -> None:
    """The records of a key that alone called the providers, against their bill, line by line: only unknown outcomes differ, and
    what is marked as estimated because its caller left. So what is settled beyond the bill is, to the nano-dollar, what these reserved, or
    are estimated at, less what they were billed."""
    lines = one.bill_lines()
    billed = sum(lines.values())
    rows = one.query(
        "SELECT id::text, cost_nano, estimated, usage_attempts(r) FROM usage_request AS r"
        " WHERE key_id = (SELECT id::text FROM keys_virtualkey WHERE name = %s)",
        key,
    )
    wrong = []
    for id, cost, estimated, attempts in rows:
        if id not in unknown and not estimated:
            own = sum(lines.pop(attempt["upstream_request_id"], 0) for attempt in attempts)
            wrong += [(id, cost, own)] if own != cost else []
    assert not wrong, f"{len(wrong)} of {len(rows)} records are not at their bill (id, recorded, billed): {wrong[:5]}"
    unsure = sum(cost for id, cost, estimated, _ in rows if id in unknown or estimated)
    settled = sum(cost for _, cost, _, _ in rows)
    left = sum(lines.values())  # lines that no sure record names: the providers served them, and nobody heard the end
    print(f"{len(rows)} records: settled {settled}, billed {billed}; unknown outcomes reserved {unsure} and were billed {left}")
    assert settled - billed == unsure - left >= 0


def check_sums(one: Instance) -> int:
    """Records = rollups = budget windows, to the nano-dollar. The cost of all records."""
    records = one.query("SELECT count(*), coalesce(sum(cost_nano), 0), coalesce(sum(tokens_input + tokens_output), 0) FROM usage_request")[
        0
    ]
    for table in ("usage_rollup_10s", "usage_rollup_1m", "usage_rollup_1h"):
        rolled = one.query(f"SELECT sum(requests), sum(cost_nano), sum(tokens_input + tokens_output) FROM {table}")[0]
        assert rolled == records, table
    budgets = one.query(
        "SELECT b.name, b.scope, coalesce(b.key_id::text, b.scope_ref), sum(w.spent_nano), sum(w.overrun_nano), sum(w.leased_nano),"
        " bool_and(w.spent_nano <= w.limit_nano)"
        " FROM budgets_budgetwindow w JOIN budgets_budget b ON b.id = w.budget_id GROUP BY 1, 2, 3"
    )
    assert budgets
    for name, scope, subject, spent, overrun, leased, within in budgets:
        cost = one.query(f"SELECT coalesce(sum(cost_nano), 0) FROM usage_request WHERE {BELONGS[scope]}", subject)[0][0]
        assert (name, spent, overrun, leased, within) == (name, cost, 0, 0, True)
    leases = one.query("SELECT count(*) FROM budgets_lease WHERE granted_nano <> returned_nano + settled_nano")
    assert leases == [(0,)]
    released = one.query(
        "SELECT count(*) FROM budgets_lease l JOIN publishing_proxy p ON p.boot_id = l.boot_id"
        " WHERE p.gone_at IS NOT NULL AND l.state = 'open'"
    )
    assert released == [(0,)], "leases of proxies that are gone"
    assert one.query("SELECT count(*) FROM settlement_reject") == [(0,)]
    return int(records[1])


def check_logs(one: Instance) -> None:
    """No process of ours has logged a fault."""
    faults = [
        f"{path.name}: {line}"
        for path in sorted((one.data_dir / "log").glob("*.log*"))
        if path.name.split(".")[0] not in NOT_OURS
        for line in path.read_text(errors="replace").splitlines()
        if FAULTS.search(line)
    ]
    print(*(f"logged: {fault[:600]}" for fault in faults[:8]), sep="\n")
    assert faults == [], "\n".join(faults[:30])

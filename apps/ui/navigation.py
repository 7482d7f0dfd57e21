"""The left rail, the actions of the command palette and the keys that lead to pages: defined once, by job, filtered by what
a person may see.

A place appears when its page exists, so an entry may be written before its page; ``tests/ui/test_navigation.py`` looks at
those that do. Who may see what is asked of whoever ``register_asker`` named, because this app knows no people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, get_script_prefix, get_urlconf, reverse


class May(Protocol):
    """Whether an action of ``apps.accounts.rules`` is allowed to the person: in the chosen organisation, or with
    ``installation`` on the installation as a whole."""

    def __call__(self, action: str, *, installation: bool = False) -> bool: ...


@dataclass(frozen=True, slots=True)
class Place:
    """One link. ``permission``: the action it takes (``apps.accounts.rules``); empty: everyone who is signed in.

    ``also``: URL names of pages that lie under this place and mark it as the current one; ``routes:*`` for all of an app.
    ``key``: after ``g``, the key that leads here. ``words``: what else the palette finds it by.
    ``installation``: the permission is asked for the installation, not for the chosen organisation.
    ``badge``: URL name of a fragment that says how many things wait there for this person; fetched once the page is drawn.
    """

    label: str
    url_name: str
    icon: str
    permission: str = ""
    also: tuple[str, ...] = ()
    key: str = ""
    words: str = ""
    installation: bool = False
    badge: str = ""

    @property
    def url(self) -> str:
        """Its address; empty while the page does not exist."""
        return _url(self.url_name)

    @property
    def badge_url(self) -> str:
        """Where its badge is; empty where it has none."""
        return _url(self.badge) if self.badge else ""

    def holds(self, view_name: str) -> bool:
        """Whether the page ``view_name`` lies here."""
        return view_name == self.url_name or any(
            view_name.startswith(name[:-1]) if name.endswith("*") else view_name == name for name in self.also
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A group of places that serve one job; a job without a label is set apart by a space only."""

    label: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do, for the palette: a page that does it, or with ``post`` an address that does it when sent to by POST."""

    label: str
    url_name: str
    icon: str
    permission: str = ""
    words: str = ""
    installation: bool = False
    post: bool = False

    @property
    def url(self) -> str:
        """Its address; empty while the page does not exist."""
        return _url(self.url_name)


RAIL: tuple[Job, ...] = (
    Job(
        "",
        (
            Place(
                "Overview",
                "dashboard:overview",
                "overview",
                "overview.view",
                also=("dashboard:now", "dashboard:traffic", "dashboard:latency"),
                key="o",
                words="home start now",
            ),
        ),
    ),
    Job(
        "Traffic",
        (
            Place(
                "Dashboards",
                "dashboard:boards",
                "progress",
                "usage.view",
                also=("dashboard:board*", "dashboard:saved_views"),
                key="d",
                words="plots latency ttft errors availability compare team region model saved views slowest costliest",
            ),
            Place(
                "Requests", "dashboard:requests", "requests", "request.view", also=("dashboard:request",), key="r", words="calls log tail"
            ),
            Place("Routes", "routes:list", "routes", "route.view", also=("routes:*", "dashboard:routes"), key="t", words="models targets"),
            Place(
                "Providers",
                "providers:list",
                "providers",
                "provider.view",
                also=("providers:*", "dashboard:providers", "catalogue:*"),
                key="p",
                words="upstreams endpoints credentials prices models capabilities catalogue",
            ),
            Place("Keys", "keys:list", "keys", "key.view", also=("keys:*", "dashboard:keys"), key="k", words="tokens requests templates"),
            Place("Playground", "dashboard:playground", "flask", "playground.use", key="y", words="chat try ask dry run explain stream"),
        ),
    ),
    Job(
        "Fleet",
        (
            Place(
                "Workers",
                "fleet:workers",
                "fleet",
                "worker.view",
                also=("fleet:worker*", "fleet:gpus", "fleet:events", "fleet:join"),
                key="u",
                words="gpu machines agents join cordon drain maintenance nodes hosts",
            ),
            Place(
                "Deployments",
                "fleet:deployments",
                "inbox",
                "deployment.view",
                also=("fleet:deployment*", "fleet:replica*"),
                key="v",
                words="models engines replicas vllm scale rollout placement self-hosted",
            ),
        ),
    ),
    Job(
        "Operate",
        (
            Place(
                "Alerts",
                "alerts:list",
                "alerts",
                "alert.view",
                also=("alerts:*",),
                key="i",
                words="firing rules slo error budget burn silence channels routing escalation on call page pager deliveries",
            ),
            Place(
                "Incidents",
                "postmortems:list",
                "incidents",
                "incident.view",
                also=("postmortems:*",),
                key="j",
                words="declare outage severity sev1 commander timeline impact postmortem action items patterns status page slack",
            ),
            Place(
                "Flags",
                "flags:list",
                "flags",
                "flag.view",
                also=("flags:*",),
                key="f",
                words="switches kill fallback degrade release overrides flip",
            ),
            Place(
                "Spend",
                "dashboard:spend",
                "spend",
                "budget.view",
                also=("dashboard:spend_*", "dashboard:budgets", "dashboard:cost"),
                key="s",
                words="budgets money cost forecast waste anomalies breakdown team feature user region",
            ),
            Place(
                "Prices",
                "prices:list",
                "inbox",
                "budget.view",
                also=("prices:*",),
                key="m",
                words="price book discounts gpu cost re-pricing",
            ),
            Place("Budgets", "budgets:list", "spend", "budget.view", also=("budgets:*",), key="b", words="wall money override alerts"),
            Place("Limits", "limits:list", "clock", "limit.view", also=("limits:*",), key="l", words="rate rpm tpm concurrency quota"),
            Place(
                "Performance",
                "performance:list",
                "progress",
                "performance_budget.view",
                also=("performance:*",),
                key="e",
                words="performance budgets ttft latency error rate verdict slo gpu hours",
            ),
            Place(
                "Cost review",
                "reviews:day",
                "history",
                "budget.view",
                also=("reviews:*", "costs:*"),
                key="w",
                words="daily weekly e-mail reconciliation invoice export focus showback csv",
            ),
            Place("Proxies", "dashboard:proxies", "fleet", "config.view", key="x", words="processes fleet"),
        ),
    ),
    Job(
        "Govern",
        (
            Place(
                "Changes",
                "changes:list",
                "inbox",
                "change.view",
                also=("changes:*",),
                key="h",
                words="approve requests schedule four eyes two persons break glass reviews stale neglected",
                badge="changes:badge",
            ),
            Place(
                "Config history",
                "publishing:history",
                "history",
                "config.view",
                also=("publishing:*",),
                key="c",
                words="versions diff rollback publish",
                installation=True,
            ),
            Place(
                "Ownership",
                "ownership:map",
                "person",
                "ownership.view",
                also=("ownership:*",),
                key="n",
                words="teams services regions layers on call rotations chaos lead contacts sla runbooks unowned escalation",
            ),
            Place(
                "Capture",
                "captures:list",
                "shield",
                "capture.view",
                also=("captures:*",),
                words="samples content redaction prompts privacy",
            ),
            Place("Audit log", "audit:log", "shield", "audit.view", also=("audit:*",), key="a", words="who what when", installation=True),
            Place(
                "Settings",
                "settings:index",
                "settings",
                also=("settings:*", "api-reference"),
                key=",",
                words="people profile password installation api tokens",
            ),
        ),
    ),
)

ACTIONS: tuple[Action, ...] = (
    Action("Connect a provider", "providers:connect", "plug", "provider.change", "new add upstream credential"),
    Action("Create a key", "keys:create", "plus", "key.change", "new add virtual"),
    Action("Ask for a key", "keys:ask", "keys", "key.request", "new make self-service team template request"),
    Action("Import keys", "keys:import", "inbox", "key.import", "bulk csv json hashes secrets"),
    Action("Set a budget", "budgets:create", "plus", "budget.change", "new add wall money spend"),
    Action("Estimate a month", "budgets:estimate", "spend", "budget.view", "estimator cost self-hosted gpu break-even forecast"),
    Action("Set a limit", "limits:create", "plus", "limit.change", "new add rate tokens requests per minute"),
    Action("Make an alert rule", "alerts:rule_create", "plus", "alert_rule.change", "new add threshold tell notify"),
    Action("Make an SLO", "alerts:slo_create", "plus", "slo.change", "new add objective error budget burn rate availability"),
    Action("Declare an incident", "postmortems:declare", "incidents", "incident.declare", "new outage sev1 something is wrong"),
    Action("Make an action item", "postmortems:action_create", "plus", "action_item.change", "new add postmortem to do follow up"),
    Action("Look for patterns", "postmortems:patterns", "search", "postmortem.view", "repeat incidents factors learn postmortems"),
    Action("Read postmortems", "postmortems:postmortems", "file", "postmortem.view", "learn incidents evidence review sign off"),
    Action("Set up the status page", "postmortems:status_settings", "globe", "status_page.change", "public components outage"),
    Action("Say what severities mean", "postmortems:severities", "incidents", "incident_severity.change", "sev1 slash command slack"),
    Action("Set how I am reached", "alerts:channel_create", "person", "alert_channel.own", "channel push pager e-mail ntfy slack on call"),
    Action("Say that a provider is in trouble", "alerts:notes", "warning", "provider_note.change", "degraded down status page outage"),
    Action("Set a performance budget", "performance:create", "plus", "performance_budget.change", "new add ttft latency error rate cost"),
    Action("Create a flag", "flags:create", "plus", "flag.change", "new add switch kill fallback"),
    Action("See what is overridden", "flags:overrides", "flags", "flag.view", "overrides in force switches"),
    Action("Capture a route's requests", "captures:route", "shield", "capture.change", "sample content debug redacted"),
    Action("Capture a key's next requests", "captures:key", "shield", "capture.change", "sample content debug redacted"),
    Action("Join a worker", "fleet:join", "plus", "worker.join", "new add gpu machine agent"),
    Action("Create a deployment", "fleet:deployment_create", "plus", "deployment.change", "new add model engine self-hosted"),
    Action("Create a route", "routes:create", "plus", "route.change", "new add"),
    Action("Add a discount", "prices:discount_add", "spend", "price.change", "new negotiated price contract"),
    Action("Price a period again", "prices:repricing_add", "history", "price.change", "re-pricing correction wrong price"),
    Action("Import a provider's export", "costs:reconciliation_import", "plus", "reconciliation.change", "reconcile invoice usage csv"),
    Action("Export costs", "costs:export", "download", "usage.view", "focus showback csv chargeback"),
    Action("Open a saved view", "dashboard:saved_views", "overview", "overview.view", "dashboards views bookmarks"),
    Action("See what takes room on disk", "settings:storage", "inbox", "installation.view", "storage retention growth", installation=True),
    Action("Schedule a flip", "changes:ask", "clock", "change.request", "ask four eyes approve flag later"),
    Action("Add a team", "ownership:team_create", "plus", "team.change", "new ownership"),
    Action("Add a rotation", "ownership:rotation_create", "clock", "rotation.change", "new on call schedule chaos lead"),
    Action("Write a runbook", "ownership:runbook_create", "plus", "runbook.change", "new procedure incident"),
    Action("See what nobody owns", "ownership:unowned", "warning", "ownership.view", "unowned orphans"),
    Action("Invite a colleague", "settings:invite", "person", "user.change", "new add user person people", installation=True),
    Action("Create a personal token", "settings:tokens", "plus", "", "api bearer automation scopes"),
    Action("Read the API's reference", "api-reference", "requests", "", "openapi schema rest documentation"),
    Action("Change your password", "settings:profile", "settings", "", "profile sign out sessions"),
    Action("Sign out", "accounts:logout", "leave", words="log out leave", post=True),
)

_asker: Callable[[HttpRequest], May] | None = None


def register_asker(asker: Callable[[HttpRequest], May]) -> None:
    """Names who knows what the person of a request may do; called once, by the app that chooses scopes, in its ``ready()``."""
    global _asker
    _asker = asker


def may_of(request: HttpRequest) -> May:
    """What the person of this request may do; nothing while nobody is asked."""
    return _asker(request) if _asker else _nothing


def rail_for(may: May, jobs: Iterable[Job] = RAIL) -> list[Job]:
    """The jobs and places whose page exists and whose permission ``may`` grants; jobs left empty are dropped."""
    allowed = (Job(job.label, tuple(place for place in job.places if _open(place, may))) for job in jobs)
    return [job for job in allowed if job.places]


def actions_for(may: May) -> list[Action]:
    """The actions whose page exists and whose permission ``may`` grants."""
    return [action for action in ACTIONS if _open(action, may)]


def _open(entry: Place | Action, may: May) -> bool:
    if not entry.url:
        return False
    if not entry.permission:
        return True
    return may(entry.permission, installation=True) if entry.installation else may(entry.permission)


def _nothing(action: str, *, installation: bool = False) -> bool:
    return False


def _url(name: str) -> str:
    return _address(name, get_urlconf() or settings.ROOT_URLCONF, get_script_prefix())


@lru_cache(maxsize=1_000)
def _address(name: str, urlconf: str, prefix: str) -> str:
    """Kept, because every page asks for all places of the rail more than once. urlconf, prefix: what the answer follows from."""
    try:
        return reverse(name, urlconf)
    except NoReverseMatch:
        return ""

"""Every page of the dashboard as pictures, to be looked at: wide and narrow, light and dark, with contact sheets of them.

    python -m tests.browser.gallery --url http://127.0.0.1:8000 --email E --password P --out DIR [--org SLUG] [--only routes]

The pages come from the URL configuration: a page that is added is photographed, or named below with the reason why not
(``test_gallery.py`` looks). What is wrong with a page, ``looks.check()`` says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browser import LONG_MS
from tests.browser.looks import COLLECT, LOOKED_AT_AGAIN, browser_open, check, listen, resized, settled, sign_in

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
LOOKS = tuple((width, scheme) for width in WIDTHS for scheme in SCHEMES)

OBJECTS = {
    "routes": ("route_id", "/routes/", r"^/routes/([0-9a-f-]{36})/$"),
    "keys": ("key_id", "/keys/", r"^/keys/([0-9a-f-]{36})/$"),
    "keys:request": ("asking_id", "/keys/requests/?show=all", r"^/keys/requests/([0-9a-f-]{36})/$"),
    "keys:handover": ("handover_id", "/keys/requests/?show=all", r"^/keys/secrets/([0-9a-f-]{36})/$"),
    "keys:template": ("team_id", "/keys/templates/", r"^/keys/templates/([0-9a-f-]{36})/$"),
    "providers": ("provider_id", "/providers/", r"^/providers/([0-9a-f-]{36})/$"),
    "providers:price": ("model_id", "/providers/{provider_id}/models/", r"/models/([0-9a-f-]{36})/price/$"),
    "providers:credential_rotate": ("credential_id", "/providers/credentials/", r"/credentials/([0-9a-f-]{36})/rotate/$"),
    "dashboard:request": ("request_id", "/requests/", r"^/requests/([0-9a-f-]{36})/$"),
    "publishing": ("number", "/config/", r"^/config/(\d+)/$"),
    "publishing:managed": ("mark_id", "/routes/", r"^/config/managed/(\d+)/$"),
    "audit:event": ("seq", "/audit/", r"^/audit/(\d+)/$"),
    "catalogue": ("model_id", "/models/", r"^/models/([0-9a-f-]{36})/$"),
    "prices": ("model_id", "/prices/", r"^/prices/models/([0-9a-f-]{36})/$"),
    "prices:discount": ("discount_id", "/prices/discounts/", r"^/prices/discounts/([0-9a-f-]{36})/edit/$"),
    "prices:gpu": ("price_id", "/prices/gpus/", r"^/prices/gpus/([0-9a-f-]{36})/edit/$"),
    "prices:unit": ("unit_price_id", "/prices/units/", r"^/prices/units/([0-9a-f-]{36})/edit/$"),
    "prices:repricing": ("repricing_id", "/prices/repricing/", r"^/prices/repricing/([0-9a-f-]{36})/$"),
    "budgets": ("budget_id", "/budgets/", r"^/budgets/([0-9a-f-]{36})/$"),
    "limits": ("limit_id", "/limits/", r"^/limits/([0-9a-f-]{36})/$"),
    "performance": ("performance_id", "/performance-budgets/", r"^/performance-budgets/([0-9a-f-]{36})/$"),
    "dashboard:board": ("kind", "/dashboards/", r"^/dashboards/(?!views/)(\w+)/$"),
    "dashboard:spend_by": ("dimension", "/spend/by/", r"^/spend/by/(\w+)/$"),
    "fleet:worker": ("worker_id", "/workers/", r"^/workers/([0-9a-f-]{36})/$"),
    "fleet:replica_log": ("replica_id", "/deployments/replicas/", r"^/replicas/([0-9a-f-]{36})/log/$"),
    **dict.fromkeys(
        ("fleet:deployment", "fleet:deployment_edit", "fleet:deployment_placement"),
        ("deployment_id", "/deployments/", r"^/deployments/([0-9a-f-]{36})/$"),
    ),
    "flags": ("flag", "/flags/", r"^/flags/(?!new/)([a-z0-9._-]+)/$"),
    "changes": ("change_id", "/changes/?show=open", r"^/changes/([0-9a-f-]{36})/$"),
    "costs": ("export_id", "/costs/reconciliation/", r"^/costs/reconciliation/([0-9a-f-]{36})/$"),
    "ownership": ("team_id", "/ownership/teams/", r"^/ownership/teams/([0-9a-f-]{36})/$"),
    "ownership:service": ("service_id", "/ownership/teams/{team_id}/", r"^/ownership/services/([0-9a-f-]{36})/$"),
    "ownership:service_edit": ("service_id", "/ownership/teams/{team_id}/", r"^/ownership/services/([0-9a-f-]{36})/$"),
    "ownership:service_sla": ("service_id", "/ownership/teams/{team_id}/", r"^/ownership/services/([0-9a-f-]{36})/$"),
    "ownership:sla": ("sla_id", "/ownership/teams/{team_id}/", r"^/ownership/slas/([0-9a-f-]{36})/$"),
    "ownership:rotation": ("rotation_id", "/ownership/rotations/", r"^/ownership/rotations/([0-9a-f-]{36})/$"),
    "ownership:rotation_edit": ("rotation_id", "/ownership/rotations/", r"^/ownership/rotations/([0-9a-f-]{36})/$"),
    "ownership:runbook": ("runbook_id", "/ownership/runbooks/", r"^/ownership/runbooks/([0-9a-f-]{36})/$"),
    "ownership:runbook_edit": ("runbook_id", "/ownership/runbooks/", r"^/ownership/runbooks/([0-9a-f-]{36})/$"),
    "alerts": ("alert_id", "/alerts/?show=all", r"^/alerts/([0-9a-f-]{36})/$"),
    **dict.fromkeys(("alerts:rule", "alerts:rule_edit"), ("alert_rule_id", "/alerts/rules/", r"^/alerts/rules/([0-9a-f-]{36})/$")),
    **dict.fromkeys(("alerts:slo", "alerts:slo_edit"), ("slo_id", "/alerts/slos/", r"^/alerts/slos/([0-9a-f-]{36})/$")),
    "alerts:channel_edit": ("channel_id", "/alerts/channels/", r"^/alerts/channels/([0-9a-f-]{36})/edit/$"),
    "alerts:policy_edit": ("policy_id", "/alerts/routing/", r"^/alerts/routing/([0-9a-f-]{36})/edit/$"),
    "postmortems": ("incident_id", "/incidents/?show=all", r"^/incidents/([0-9a-f-]{36})/$"),
    "postmortems:flip": ("flag", "/flags/", r"^/flags/(?!new/)([a-z0-9._-]+)/$"),
    **dict.fromkeys(
        ("postmortems:postmortem", "postmortems:postmortem_edit", "postmortems:postmortem_facts"),
        ("postmortem_id", "/postmortems/", r"^/postmortems/([0-9a-f-]{36})/$"),
    ),
    **dict.fromkeys(("postmortems:action", "postmortems:action_edit"), ("action_id", "/actions/", r"^/actions/([0-9a-f-]{36})/$")),
    "postmortems:checklist": ("run_id", "/incidents/{incident_id}/", r"^/checklists/([0-9a-f-]{36})/$"),
    "postmortems:status": ("slug", "/status-page/", r"^/status/([a-z0-9-]+)/$"),
    "postmortems:factor_edit": ("factor_id", "/postmortems/factors/", r"^/postmortems/factors/([0-9a-f-]{36})/edit/$"),
    "settings": ("pk", "/settings/people/", r"^/settings/people/([0-9a-f-]{36})/$"),
}
"""App, or page -> the parameter of its address, the page that lists such objects, and what a link to one looks like."""

ACTS = {
    "accounts:logout", "routes:breaker_force", "routes:breaker_release",
    "routes:disable", "routes:enable", "routes:switch", "routes:switch_back", "keys:disable", "keys:enable",
    "keys:revoke", "keys:approve", "keys:reject", "keys:withdraw", "keys:template_delete",
    "providers:disable", "providers:enable", "providers:check", "providers:remove", "providers:model_remove", "publishing:undo",
    "settings:invitation-renew", "settings:invitation-revoke", "settings:person-disable", "settings:person-enable",
    "settings:person-password-link", "settings:person-remove", "demo:break", "demo:switch", "demo:undo", "demo:traffic",
    "ui:theme", "ui:zone", "ui:catalogue_try", "audit:check", "providers:credential_remove",
    "catalogue:clear", "prices:discount_remove", "prices:unit_remove", "prices:gpu_remove", "prices:base_take", "prices:repricing_withdraw",
    "dashboard:spend_anomaly_acknowledge", "dashboard:saved_view_delete",
    "flags:delete", "changes:approve", "changes:reject", "changes:withdraw", "changes:review", "changes:rule_remove",
    "ownership:assign", "ownership:team_people", "ownership:sla_delete", "ownership:rotation_delete", "ownership:override",
    "ownership:override_end", "ownership:runbook_review", "ownership:runbook_delete",
    "ownership:team_delete", "ownership:service_delete", "settings:person-team", "captures:end", "captures:sample",
    "costs:reconciliation_remove", "reviews:weekly_send",
    "alerts:acknowledge", "alerts:silence", "alerts:resolve", "alerts:note", "alerts:silence_end", "alerts:note_end",
    "alerts:rule_switch", "alerts:rule_delete", "alerts:slo_delete", "alerts:channel_test", "alerts:channel_delete",
    "alerts:policy_delete", "alerts:delivery_again",
    "postmortems:postmortem_export", "postmortems:postmortem_hold", "postmortems:postmortem_draft", "postmortems:evidence_take",
    "postmortems:postmortem_submit",
    "postmortems:postmortem_sign", "postmortems:postmortem_publish", "postmortems:postmortem_reopen", "postmortems:postmortem_start",
    "postmortems:checklist_start", "postmortems:checklist_step", "postmortems:checklist_end",
    "postmortems:action_done", "postmortems:action_decline", "postmortems:action_reopen",
    "postmortems:say", "postmortems:note", "postmortems:acknowledge", "postmortems:roles", "postmortems:scope",
    "postmortems:window", "postmortems:measure", "postmortems:suspect", "postmortems:pin", "postmortems:hide",
    "postmortems:chat_settings",
    "fleet:token_revoke", "fleet:worker_mode", "fleet:worker_rotate", "fleet:worker_remove",
    "fleet:deployment_scale", "fleet:deployment_restart", "fleet:deployment_delete", "fleet:replica_replace",
    "budgets:override_end", "budgets:override", "budgets:delete", "limits:delete", "performance:delete",
}  # fmt: skip
"""Addresses that act when sent to by POST: they have no page, or only their refusal."""
PARTS = {
    "keys:first_request", "routes:spread", "publishing:propagation", "demo:progress", "ui:catalogue_live", "ui:toasts",
    "routes:standing", "ownership:of", "flags:watch", "flags:spread", "changes:badge", "ofrep:flag", "ofrep:flags",
    "costs:focus", "costs:showback", "limits:use", "budgets:subjects",
    "dashboard:boards_panel", "dashboard:board_panel",
    "dashboard:playground_told", "dashboard:verdict", "dashboard:now", "performance:verdict", "dashboard:healthz",
    "metrics:scrape", "metrics:targets", "postmortems:chat", "postmortems:file", "fleet:arrived",
}  # fmt: skip
"""Parts of pages that stand on those pages, and addresses for machines."""
SOMETIMES = {"demo:remove"}
"""There while something is there: a demo, for one. Elsewhere their 404 is right."""
ALONE = {
    "accounts:login": "signed out", "accounts:accept": "needs an invitation's link",
    "postmortems:postmortem_text": "one for each sitting of a writer",
}  # fmt: skip
"""Seen by other people: photographed by the tests that are those people."""
LINKED = {
    "postmortems:evidence": ("/postmortems/{postmortem_id}/", r"/evidence/\d+/(severities|impact|providers|alerts|timeline)/$"),
}
"""Page -> the page that links to several of them, and what such links look like: each that its group tells from the others is one."""
VIEWS = {
    "flags:detail": ("flips", "history"),
    "routes:detail": ("access", "config", "history"), "keys:detail": ("access", "connect", "history"), "publishing:version": (),
    "ownership:team": ("people", "owns", "history"),
    "postmortems:postmortem": ("history",),
}  # fmt: skip
"""Pages with tabs of their own address."""
MORE = {
    "errors:404": "/nothing-is-here/",
    "dashboard:requests-none": "/requests/?user=nothing-matches-this",
    "ui:catalogue-dark": "/ui/?scheme=dark",
    "flags:list-none": "/flags/?q=nothing-matches-this",
    "routes:list-none": "/routes/?q=nothing-matches-this",
    "dashboard:board-compared": "/dashboards/?from=now-24h&compare=1d",
    "budgets:list-none": "/budgets/?q=nothing-matches-this",
    "prices:list-none": "/prices/?q=nothing-matches-this",
}
"""What no address of its own stands for."""
AREAS = {
    "overview": ("dashboard", "demo", "errors", "captures"),
    "traffic": ("routes", "keys", "providers"),
    "money": ("budgets", "limits", "performance", "prices", "catalogue", "costs", "reviews"),
    "ownership": ("ownership",),
    "alerts": ("alerts",),
    "incidents": ("postmortems",),
    "flags": ("flags", "changes", "publishing", "audit"),
    "fleet": ("fleet",),
    "rest": (),
}
"""Parts of the walk that take a few minutes each: the apps whose pages they are. ``rest`` has those of all others."""


@dataclass(frozen=True, slots=True)
class Page:
    """``name``: as in URL names. ``pattern``: its address with ``{parameters}``."""

    name: str
    pattern: str


def area_of(name: str) -> str:
    """The part of the walk that a page belongs to, by its name."""
    app = name.split(":")[0]
    return next((area for area, apps in AREAS.items() if app in apps), "rest")


def pages() -> list[Page]:
    """Every page that a signed-in person opens with GET, from the URL configuration (Django must be set up)."""
    named = ACTS | PARTS | ALONE.keys() | LINKED.keys()
    return [page for page in addresses() if page.name not in named and not page.name.startswith("api:")]  # that one is for programs


def addresses() -> list[Page]:
    """Every named address of the dashboard."""
    from django.urls import URLPattern, get_resolver

    def walk(patterns: list[Any], before: str, names: tuple[str, ...]) -> Iterator[Page]:
        for entry in patterns:
            here = before + str(entry.pattern)
            if isinstance(entry, URLPattern):
                if entry.name:
                    yield Page(":".join((*names, entry.name)), "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", here))
            else:
                yield from walk(entry.url_patterns, here, (*names, entry.namespace) if entry.namespace else names)

    return list(walk(get_resolver().url_patterns, "", ()))


@dataclass
class Found:
    """What is wrong with one picture's page."""

    name: str
    faults: list[str] = field(default_factory=list)


def of_organisation(address: str, org: str) -> str:
    """The address as it is in that organisation: said on each page, because some pages lead to another. org: a slug, or nothing."""
    return f"{address}{'&' if '?' in address else '?'}org={org}" if org else address


class Objects:
    """The parameters of addresses, taken from the first link of the page that lists such objects; asked once each."""

    def __init__(self, tab: Any, url: str, org: str = "") -> None:
        self.tab, self.url, self.org = tab, url, org
        self.known: dict[str, dict[str, str]] = {}

    def address(self, page: Page) -> str | None:
        """The page's address with parameters filled in; None where the organisation has no such object."""
        values: dict[str, str] = {}
        for name in re.findall(r"{(\w+)}", page.pattern):
            group = page.name if page.name in OBJECTS and OBJECTS[page.name][0] == name else page.name.split(":")[0]
            if group not in OBJECTS or OBJECTS[group][0] != name:
                raise LookupError(
                    f"{page.name}: say in OBJECTS where {name} comes from, or in ACTS, PARTS or ALONE why there is no picture"
                )
            found = self._first(group)
            if found is None:
                return None
            values[name] = found
        return page.pattern.format(**values)

    def linked(self, page: str) -> dict[str, str]:
        """The addresses of a page of ``LINKED``, by name."""
        listed, pattern = LINKED[page]
        links = self._links(page, listed)
        return {f"{page}-{found.group(1)}": link for link in links if (found := re.search(pattern, link))}

    def _links(self, group: str, listed: str) -> list[str]:
        app = group.split(":")[0]
        lying = {
            of: next(one for one in OBJECTS if one.split(":")[0] == app and OBJECTS[one][0] == of) for of in re.findall(r"{(\w+)}", listed)
        }
        within = {of: self._first(one) for of, one in lying.items()}  # a list that lies in another object
        if None in within.values():
            return []
        self.tab.goto(self.url + of_organisation(listed.format(**within), self.org))
        links: list[str] = self.tab.locator("main a").evaluate_all("links => links.map((link) => new URL(link.href).pathname)")
        return links

    def _first(self, group: str) -> str | None:
        if group not in self.known:
            name, listed, pattern = OBJECTS[group]
            links = self._links(group, listed)
            match = next((found for link in links if (found := re.search(pattern, link))), None)
            self.known[group] = {name: match.group(1)} if match else {}
        return self.known[group].get(OBJECTS[group][0])


def photograph(
    browser: Any, *, url: str, state: Any, out: Path, org: str = "", only: str = "", widths: tuple[int, ...] = WIDTHS,
    schemes: tuple[str, ...] = SCHEMES, axe: bool = True, pictures: Sequence[tuple[int, str]] = LOOKS, area: str = "",
) -> list[Found]:  # fmt: skip
    """Pictures of every page under ``out`` as ``<page>-<width>-<scheme>.png``, and what is wrong with them. pictures: the looks that
    are kept. only: a regular expression over the pages' names; area: one of ``AREAS``.

    axe-core looks at the first and at the last look only, which have each width and each scheme once: it takes longest."""
    out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import Error

    found = []
    context = browser.new_context(storage_state=state)
    tab = context.new_page()
    tab.goto(f"{url}/?org={org}" if org else f"{url}/")
    objects = Objects(tab, url, org)
    wanted = []
    for page in pages():
        if area and area_of(page.name) != area:
            continue
        try:
            if (address := objects.address(page)) is not None:
                wanted.append((page.name, address))
        except LookupError as error:
            found.append(Found(page.name.replace(":", "-"), [str(error)]))
    wanted += [(f"{page}-{view}", f"{address}?tab={view}") for page, address in wanted for view in VIEWS.get(page, ())]
    wanted += [found for page in LINKED if not area or area_of(page) == area for found in objects.linked(page).items()]
    wanted += [(name, address) for name, address in MORE.items() if not area or area_of(name) == area]
    state = context.storage_state()
    context.close()
    context = browser.new_context(color_scheme=schemes[0], reduced_motion="reduce", storage_state=state)
    context.add_init_script(COLLECT)
    context.set_default_timeout(LONG_MS)
    tab = context.new_page()
    heard = listen(tab)
    for name, address in wanted:
        if only and not re.search(only, name):
            continue
        shots = {(width, scheme): Found(f"{name.replace(':', '-')}-{width}-{scheme}") for width in widths for scheme in schemes}
        first, last = next(iter(shots.values())), next(reversed(shots.values()))
        heard.clear()
        try:
            resized(tab, widths[0])
            tab.emulate_media(color_scheme=schemes[0])
            answer = tab.goto(url + of_organisation(address, org))
            if answer.status == 404 and name in SOMETIMES:
                continue
            if name.startswith("errors:"):
                heard.clear()  # the console's word for the same
            elif answer.status >= 400:
                first.faults.append(f"answered {answer.status}")
            settled(tab)
            for (width, scheme), shot in shots.items():  # opened once: what follows the look, follows it without being opened anew
                if tab.viewport_size["width"] != width:
                    resized(tab, width)
                tab.emulate_media(color_scheme=scheme)
                shot.faults += check(tab, axe=axe and shot in (first, last), rules=None if shot is first else LOOKED_AT_AGAIN)
                if (width, scheme) in pictures:
                    tab.screenshot(path=out / f"{shot.name}.png", full_page=True)
        except Error as error:  # an address that only acts, or a plot that is never drawn: the next page may do better
            first.faults.append(str(error).splitlines()[0])
            tab.close()  # with whatever it was about to open still
            tab = context.new_page()
            heard = listen(tab)
        first.faults += heard
        found += shots.values()
    context.close()
    return found


def contact_sheets(browser: Any, folder: Path, *, across: int = 4, rows: int = 2) -> list[Path]:
    """Several pictures on one, in the order of their names: ``sheet-*.png``, to look at many quickly."""
    made = []
    for kind in sorted({"-".join(path.stem.split("-")[-2:]) for path in folder.glob("*-*-*.png") if not path.stem.startswith("sheet")}):
        shots = sorted(path for path in folder.glob(f"*-{kind}.png") if not path.stem.startswith("sheet"))
        per = across * rows * (2 if kind.startswith("390") else 1)
        for at in range(0, len(shots), per):
            cells = "".join(
                f"<figure><figcaption>{path.stem}</figcaption><img src='{path.as_uri()}'></figure>" for path in shots[at : at + per]
            )
            columns = across * (2 if kind.startswith("390") else 1)
            sheet = folder / "sheet.html"
            sheet.write_text(
                f"<style>body{{margin:8px;display:grid;grid-template-columns:repeat({columns},1fr);gap:8px;font:12px sans-serif}}"
                "figure{margin:0;border:1px solid #888}img{width:100%;max-height:880px;object-fit:cover;object-position:top}</style>"
                + cells
            )
            tab = browser.new_page(viewport={"width": 1920, "height": 900})
            tab.goto(sheet.as_uri())
            made.append(folder / f"sheet-{kind}-{at // per + 1}.png")
            tab.screenshot(path=made[-1], full_page=True)
            tab.close()
            sheet.unlink()
    return made


def main() -> int:
    """Takes the pictures; 1 when something is wrong with a page."""
    import django

    parser = argparse.ArgumentParser(description="Pictures of every page of a running dashboard.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--email", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--org", default="")
    parser.add_argument("--only", default="", help="a regular expression over the pages' names")
    parser.add_argument("--area", default="", choices=("", *AREAS))
    parser.add_argument("--width", type=int, action="append", help="one of the widths; both without it")
    parser.add_argument("--scheme", action="append", choices=SCHEMES)
    parser.add_argument("--no-axe", action="store_true")
    parser.add_argument("--no-pictures", action="store_true", help="only say what is wrong")
    given = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
    django.setup()
    with browser_open() as browser:
        state = sign_in(browser, url=given.url, email=given.email, password=given.password)
        found = photograph(
            browser, url=given.url, state=state, out=given.out, org=given.org, only=given.only, area=given.area,
            widths=tuple(given.width or WIDTHS), schemes=tuple(given.scheme or SCHEMES), axe=not given.no_axe,
            pictures=() if given.no_pictures else LOOKS,
        )  # fmt: skip
        sheets = contact_sheets(browser, given.out)
    faulty = [shot for shot in found if shot.faults]
    print(json.dumps({shot.name: shot.faults for shot in faulty}, indent=2))
    print(f"{len(found)} pictures, {len(sheets)} sheets in {given.out}; {len(faulty)} with faults")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every page of the dashboard as pictures, to be looked at: wide and narrow, light and dark, with contact sheets of them.

    python -m tests.browser.gallery --url http://127.0.0.1:8000 --email E --password P --out DIR [--org SLUG] [--only routes]

The pages come from the URL configuration: a page that is added is photographed, or named below with the reason why not
(``test_gallery.py`` looks). ``check()`` says what is wrong with an open page: wider than its window, no single heading,
findings of axe-core, what the security policy stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browser import LONG_MS

FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""As ``deploy/chromium.sh`` looks for them."""
WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
COLOURS = ("color-contrast", "link-in-text-block")
"""Rules of axe-core whose answer may differ from one colour scheme to the other."""
COLLECT = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""

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
    "prices": ("model_id", "/prices/", r"^/prices/models/([0-9a-f-]{36})/$"),
    "prices:discount": ("discount_id", "/prices/discounts/", r"^/prices/discounts/([0-9a-f-]{36})/edit/$"),
    "prices:gpu": ("price_id", "/prices/gpus/", r"^/prices/gpus/([0-9a-f-]{36})/edit/$"),
    "prices:repricing": ("repricing_id", "/prices/repricing/", r"^/prices/repricing/([0-9a-f-]{36})/$"),
    "budgets": ("budget_id", "/budgets/", r"^/budgets/([0-9a-f-]{36})/$"),
    "limits": ("limit_id", "/limits/", r"^/limits/([0-9a-f-]{36})/$"),
    "performance": ("performance_id", "/performance-budgets/", r"^/performance-budgets/([0-9a-f-]{36})/$"),
    "dashboard:board": ("kind", "/dashboards/", r"^/dashboards/(\w+)/$"),
    "dashboard:spend_by": ("dimension", "/spend/by/", r"^/spend/by/(\w+)/$"),
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
    "prices:discount_remove", "prices:gpu_remove", "prices:base_take", "prices:repricing_withdraw",
    "dashboard:spend_anomaly_acknowledge", "dashboard:saved_view_delete",
    "flags:delete", "changes:approve", "changes:reject", "changes:withdraw", "changes:review", "changes:rule_remove",
    "ownership:assign", "ownership:team_people", "ownership:sla_delete", "ownership:rotation_delete", "ownership:override",
    "ownership:override_end", "ownership:runbook_review", "ownership:runbook_delete",
    "ownership:team_delete", "settings:person-team", "captures:end", "captures:sample",
    "costs:reconciliation_remove", "reviews:weekly_send",
    "alerts:acknowledge", "alerts:silence", "alerts:resolve", "alerts:note", "alerts:silence_end", "alerts:note_end",
    "alerts:rule_switch", "alerts:rule_delete", "alerts:slo_delete", "alerts:channel_test", "alerts:channel_delete",
    "alerts:policy_delete", "alerts:delivery_again",
    "budgets:override_end", "budgets:override", "budgets:delete", "limits:delete", "performance:delete",
}  # fmt: skip
"""Addresses that act when sent to by POST: they have no page, or only their refusal."""
PARTS = {
    "keys:first_request", "routes:spread", "publishing:propagation", "demo:progress", "ui:catalogue_live", "ui:toasts",
    "routes:standing", "ownership:of", "flags:watch", "flags:spread", "changes:badge", "ofrep:flag", "ofrep:flags",
    "costs:focus", "costs:showback", "limits:use", "budgets:subjects",
    "dashboard:boards_panel", "dashboard:board_panel",
    "dashboard:playground_told", "dashboard:verdict", "dashboard:now", "performance:verdict", "dashboard:healthz",
    "metrics:scrape", "metrics:targets",
}  # fmt: skip
"""Parts of pages that stand on those pages, and addresses for machines."""
SOMETIMES = {"demo:remove"}
"""There while something is there: a demo, for one. Elsewhere their 404 is right."""
ALONE = {"accounts:login": "signed out", "accounts:accept": "needs an invitation's link"}
"""Seen by other people: photographed by the tests that are those people."""
VIEWS = {
    "flags:detail": ("flips", "history"),
    "routes:detail": ("access", "config", "history"), "keys:detail": ("access", "connect", "history"), "publishing:version": (),
    "ownership:team": ("people", "owns", "history"),
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


@dataclass(frozen=True, slots=True)
class Page:
    """``name``: as in URL names. ``pattern``: its address with ``{parameters}``."""

    name: str
    pattern: str


def pages() -> list[Page]:
    """Every page that a signed-in person opens with GET, from the URL configuration (Django must be set up)."""
    named = ACTS | PARTS | ALONE.keys()
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


@contextmanager
def browser_open() -> Iterator[Any]:
    """A Chromium that calls nobody. Raises FileNotFoundError without one on this machine."""
    from playwright.sync_api import sync_playwright

    found = next((path for name in (os.environ.get("BULKHEAD_CHROMIUM"), *BROWSERS) if name and (path := shutil.which(name))), None)
    if found is None:
        raise FileNotFoundError("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(browser: Any, *, url: str, email: str, password: str) -> Any:
    """The cookies of a person who signs in through the page."""
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"{url}/login/")
    tab.get_by_label("Email").fill(email)
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(f"{url}/")
    state = context.storage_state()
    context.close()
    return state


def settled(tab: Any) -> None:
    """Every plot of the page is drawn."""
    tab.wait_for_function(
        "() => [...document.querySelectorAll('[data-figure]')].every((plot) => plot.querySelector('.main-svg'))", timeout=LONG_MS
    )


def serious(tab: Any, rules: Sequence[str] | None = None) -> list[str]:
    """What axe-core finds serious or critical. rules: only these."""
    from axe_playwright_python.sync_playwright import Axe

    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = Axe().run(tab, options={"resultTypes": ["violations"], **only}).response["violations"]
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:160]} {item['nodes'][0].get('failureSummary', '')[:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


def overflow(tab: Any) -> int:
    """Pixels by which the page is wider than its window."""
    return int(tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def check(tab: Any, *, axe: bool = True, rules: Sequence[str] | None = None) -> list[str]:
    """What is wrong with the page that is open. rules: axe-core's that shall be looked at; all without."""
    faults = []
    if (wide := overflow(tab)) > 0:
        faults.append(f"{wide} px wider than the window")
    if (headings := tab.locator("h1").count()) != 1 and "/ui/" not in tab.url:  # the catalogue shows page heads
        faults.append(f"{headings} h1")
    faults += tab.evaluate("window.violations || []")
    return faults + (serious(tab, rules) if axe else [])


class Objects:
    """The parameters of addresses, taken from the first link of the page that lists such objects; asked once each."""

    def __init__(self, tab: Any, url: str) -> None:
        self.tab, self.url = tab, url
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
            found = self._first(group, values)
            if found is None:
                return None
            values[name] = found
        return page.pattern.format(**values)

    def _first(self, group: str, values: dict[str, str]) -> str | None:
        if group not in self.known:
            name, listed, pattern = OBJECTS[group]
            self.tab.goto(self.url + listed.format(**values))
            links = self.tab.locator("main a").evaluate_all("links => links.map((link) => new URL(link.href).pathname)")
            match = next((found for link in links if (found := re.search(pattern, link))), None)
            self.known[group] = {name: match.group(1)} if match else {}
        return self.known[group].get(OBJECTS[group][0])


def photograph(
    browser: Any, *, url: str, state: Any, out: Path, org: str = "", only: str = "", widths: tuple[int, ...] = WIDTHS,
    schemes: tuple[str, ...] = SCHEMES, axe: bool = True, pictures: bool = True,
) -> list[Found]:  # fmt: skip
    """Pictures of every page under ``out`` as ``<page>-<width>-<scheme>.png``, and what is wrong with them. pictures: False only looks."""
    out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import Error

    found = []
    context = browser.new_context(storage_state=state)
    tab = context.new_page()
    tab.goto(f"{url}/?org={org}" if org else f"{url}/")
    objects = Objects(tab, url)
    wanted = []
    for page in pages():
        try:
            if (address := objects.address(page)) is not None:
                wanted.append((page.name, address))
        except LookupError as error:
            found.append(Found(page.name.replace(":", "-"), [str(error)]))
    wanted += [(f"{page}-{view}", f"{address}?tab={view}") for page, address in wanted for view in VIEWS.get(page, ())]
    wanted += list(MORE.items())
    state = context.storage_state()
    context.close()
    for width in widths:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=schemes[0], reduced_motion="reduce", storage_state=state
        )
        context.add_init_script(COLLECT)
        context.set_default_timeout(LONG_MS)
        tab = context.new_page()
        for name, address in wanted:
            if only and not re.search(only, name):
                continue
            shots = {scheme: Found(f"{name.replace(':', '-')}-{width}-{scheme}") for scheme in schemes}
            if org:  # on each page, because some pages lead to another organisation
                address += f"{'&' if '?' in address else '?'}org={org}"
            try:
                tab.emulate_media(color_scheme=schemes[0])
                answer = tab.goto(url + address)
                if answer.status == 404 and name in SOMETIMES:
                    continue
                if answer.status >= 400 and not name.startswith("errors:"):
                    shots[schemes[0]].faults.append(f"answered {answer.status}")
                settled(tab)
                for at, (scheme, shot) in enumerate(shots.items()):  # opened once: nothing but colours depends on the scheme
                    tab.emulate_media(color_scheme=scheme)
                    shot.faults += check(tab, axe=axe, rules=COLOURS if at else None)
                    if pictures:
                        tab.screenshot(path=out / f"{shot.name}.png", full_page=True)
            except Error as error:  # an address that only acts, or a plot that is never drawn: the next page may do better
                shots[schemes[0]].faults.append(str(error).splitlines()[0])
                tab.close()  # with whatever it was about to open still
                tab = context.new_page()
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
            browser, url=given.url, state=state, out=given.out, org=given.org, only=given.only,
            widths=tuple(given.width or WIDTHS), schemes=tuple(given.scheme or SCHEMES), axe=not given.no_axe,
            pictures=not given.no_pictures,
        )  # fmt: skip
        sheets = contact_sheets(browser, given.out)
    faulty = [shot for shot in found if shot.faults]
    print(json.dumps({shot.name: shot.faults for shot in faulty}, indent=2))
    print(f"{len(found)} pictures, {len(sheets)} sheets in {given.out}; {len(faulty)} with faults")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())

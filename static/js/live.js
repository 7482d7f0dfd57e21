// Live panels. htmx polls each panel's own address; this file decides when: only while someone can see the panel, never
// over an open form, menu or dialog, ever more seldom while the server does not answer. It says how fresh a panel is, and
// marks it stale when it is older than it should be.
const STALE_AFTER_MS = 20_000, LONGEST_PAUSE_MS = 120_000;
const RATES = { "30s": 30_000, "1m": 60_000, off: Infinity };
const rate = RATES[new URLSearchParams(window.location.search).get("refresh")] ?? 0; // at most this often

const on = (name, act) => document.addEventListener(name, act);
const panels = (more = "") => [...document.querySelectorAll(`[data-live]${more}`)];

const states = new WeakMap(); // panel -> { seen, asked, failures, visible, since }
const state = (panel) => {
  if (!states.has(panel)) {
    const now = Date.now();
    states.set(panel, { seen: now, asked: now, failures: 0, visible: true, since: now });
    watcher.observe(panel);
  }
  return states.get(panel);
};
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const known = state(target);
    if (isIntersecting && !known.visible) known.since = Date.now();
    known.visible = isIntersecting;
  }
}, { rootMargin: "100px" });

const isPanel = (element) => element instanceof HTMLElement && element.matches("[data-live]");

// text someone typed and has not sent
const typed = (root) =>
  [...root.querySelectorAll("form[method=post] :is(input:not([type=hidden]), textarea)")].some((field) =>
    ["checkbox", "radio"].includes(field.type) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);

// a tail stands still while someone reads further down
const scrolled = (panel) =>
  panel.dataset.tail !== undefined && (window.scrollY > 120 || panel.querySelector(".scroll")?.scrollTop > 0);

const busy = (panel) =>
  panel.querySelector("form:focus-within, details.menu[open]") || typed(panel) ||
  document.querySelector("dialog[open], form.filters:focus-within") || scrolled(panel);

const pause = (known) => Math.max(rate, known.failures && Math.min(2_500 * 2 ** known.failures, LONGEST_PAUSE_MS));

function words(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 2) return "updated now";
  return seconds < 90 ? `updated ${seconds} s ago` : `updated ${Math.round(seconds / 60)} min ago`;
}

function stamp(panel) {
  const known = state(panel);
  const fresh = panel.querySelector(".fresh");
  if (!fresh) return;
  const age = words(Date.now() - known.seen);
  const waited = Date.now() - Math.max(known.seen, known.since);
  const late = known.visible && !document.hidden && waited > Math.max(STALE_AFTER_MS, rate * 2);
  const stale = known.failures > 0 || late;
  panel.toggleAttribute("data-stale", stale);
  const text = scrolled(panel) ? "paused while scrolled" : stale ? `stale: ${age}` : age;
  if (fresh.textContent !== text) fresh.textContent = text;
}

const stampAll = () => panels().forEach(stamp);

// a form that keeps itself says when it could not
const unkept = (name) => document.querySelectorAll("[data-when]").forEach((said) => (said.hidden = said.dataset.when !== name));
const kept = document.querySelector("form[data-kept]");
if (kept) window.addEventListener("pagehide", () => typed(kept) && navigator.sendBeacon(kept.action, new FormData(kept)));

function failed(panel, status) {
  if (kept && panel === kept) unkept(status === 401 ? "signed-out" : "unsaved");
  if (!isPanel(panel)) return;
  state(panel).failures += 1;
  stamp(panel);
}

on("htmx:before:request", (event) => {
  const { sourceElement: panel, sourceEvent } = event.detail.ctx;
  if (!isPanel(panel)) return;
  const known = state(panel);
  // a second's grace: timers fire a little early as often as late
  const early = document.hidden || !known.visible || Date.now() - known.asked < pause(known) - 1_000;
  if ((sourceEvent?.type === "every" && early) || busy(panel)) event.preventDefault();
  else known.asked = Date.now();
});

on("htmx:before:response", (event) => {
  const { sourceElement: panel, response } = event.detail.ctx;
  if (response.raw.redirected) {
    event.preventDefault(); // the session ended: go and sign in, but never over text that was typed
    if (typed(document)) failed(panel, 401);
    else window.location.reload();
  } else if (response.status >= 400) {
    failed(panel, response.status);
  } else if (panel === kept) {
    unkept("");
  } else if (isPanel(panel)) {
    Object.assign(state(panel), { seen: Date.now(), failures: 0 });
    panels("[data-stale]").forEach((other) => (state(other).asked = 0)); // it answers again
    stamp(panel);
  }
});

on("htmx:error", (event) => failed(event.detail.ctx?.sourceElement));

on("htmx:after:swap", stampAll);

on("visibilitychange", () => {
  if (document.hidden) return;
  panels().forEach((panel) => (state(panel).since = Date.now()));
  if (rate < Infinity) document.body.dispatchEvent(new CustomEvent("refresh", { bubbles: true }));
});

stampAll();
setInterval(stampAll, 1000);

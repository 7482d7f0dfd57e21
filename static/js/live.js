// Live panels. htmx polls each panel's own address; this file decides when (only while someone looks, never over an
// open form or menu), says how fresh a panel is, and marks it stale when the server does not answer.
(() => {
  "use strict";

  const STALE_AFTER_MS = 20_000;
  const seen = new WeakMap(); // panel -> time of its last good answer

  const isPanel = (element) => element instanceof HTMLElement && element.matches("[data-live]");
  const busy = (panel) =>
    panel.querySelector("form:focus-within, details.menu[open]") !== null ||
    document.querySelector("dialog[open], form.filters:focus-within") !== null;

  function words(ms) {
    const seconds = Math.round(ms / 1000);
    if (seconds < 2) return "updated now";
    if (seconds < 90) return `updated ${seconds} s ago`;
    return `updated ${Math.round(seconds / 60)} min ago`;
  }

  function stamp(panel, failed) {
    const fresh = panel.querySelector(".fresh");
    if (!fresh) return;
    const age = Date.now() - (seen.get(panel) ?? seen.set(panel, Date.now()).get(panel));
    const stale = failed || panel.dataset.failed !== undefined || (!document.hidden && age > STALE_AFTER_MS);
    panel.toggleAttribute("data-stale", stale);
    const text = stale ? `stale: ${words(age)}` : words(age);
    if (fresh.textContent !== text) fresh.textContent = text;
  }

  const stampAll = () => document.querySelectorAll("[data-live]").forEach((panel) => stamp(panel, false));

  document.addEventListener("htmx:before:request", (event) => {
    const panel = event.detail.ctx.sourceElement;
    if (isPanel(panel) && event.detail.ctx.sourceEvent?.type === "every" && (document.hidden || busy(panel))) event.preventDefault();
  });

  document.addEventListener("htmx:before:response", (event) => {
    const { sourceElement: panel, response } = event.detail.ctx;
    if (!isPanel(panel)) return;
    if (response.raw.redirected) {
      event.preventDefault(); // the session ended: go and sign in, rather than draw the sign-in page into a panel
      window.location.reload();
      return;
    }
    if (response.status < 400) {
      seen.set(panel, Date.now());
      delete panel.dataset.failed;
    } else {
      panel.dataset.failed = "";
    }
    stamp(panel, response.status >= 400);
  });

  document.addEventListener("htmx:error", (event) => {
    const panel = event.detail.ctx?.sourceElement;
    if (isPanel(panel)) {
      panel.dataset.failed = "";
      stamp(panel, true);
    }
  });

  document.addEventListener("htmx:after:swap", stampAll);

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.body.dispatchEvent(new CustomEvent("refresh", { bubbles: true }));
  });

  stampAll();
  setInterval(stampAll, 1000);
})();

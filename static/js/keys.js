// The keyboard, the command palette, dialogs, menus, toasts and copying: what a page does without asking the server.
(() => {
  "use strict";

  const by = (id) => document.getElementById(id);
  const typing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;
  const open = (dialog) => {
    if (dialog && !dialog.open) dialog.showModal();
  };

  // ---- command palette: the server finds, this file only moves the choice
  const palette = by("palette");
  const query = by("palette-query");
  const options = () => [...palette.querySelectorAll("[role=option]")];

  function choose(option) {
    options().forEach((each) => each.setAttribute("aria-selected", String(each === option)));
    if (option) query.setAttribute("aria-activedescendant", option.id);
    else query.removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  }

  function openPalette() {
    if (!palette || document.querySelector("dialog[open]")) return;
    open(palette);
    query.select();
    query.dispatchEvent(new CustomEvent("ask"));
  }

  palette?.addEventListener("htmx:after:swap", () => choose(options()[0]));
  query?.addEventListener("htmx:after:init", () => {
    if (palette.open) query.dispatchEvent(new CustomEvent("ask")); // opened before htmx listened: nobody heard it ask
  });
  document.addEventListener("htmx:error", (event) => {
    if (event.detail.ctx?.sourceElement === query) by("palette-hits").textContent = "The server does not answer. Try again in a moment.";
  });
  document.addEventListener("htmx:before:response", (event) => {
    const { sourceElement, response } = event.detail.ctx;
    if (sourceElement !== query || !response.raw.redirected) return;
    event.preventDefault(); // the session ended: sign in, rather than draw the sign-in page among the hits
    window.location.reload();
  });
  query?.addEventListener("keydown", (event) => {
    const all = options();
    const at = all.findIndex((option) => option.getAttribute("aria-selected") === "true");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && all.length) {
      event.preventDefault();
      choose(all[(at + step + all.length) % all.length]);
    } else if (event.key === "Enter" && all[at]) {
      event.preventDefault();
      all[at].click();
    } else if (event.key === "Escape") {
      event.preventDefault(); // a search field would only empty itself
      palette.close();
    }
  });

  // ---- keys
  let pending = null; // "g" was pressed a moment ago

  function moveRow(step) {
    const rows = [...document.querySelectorAll("main tbody th a[href]")].filter((link) => link.checkVisibility());
    const at = rows.indexOf(document.activeElement);
    rows[at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1)]?.focus();
  }

  const KEYS = {
    "?": () => open(by("shortcuts")),
    "/": () => {
      const field = document.querySelector("main input[type=search], main form.filters input:not([type=hidden])");
      if (field) field.focus();
      else openPalette();
    },
    j: () => moveRow(1),
    k: () => moveRow(-1),
  };

  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      if (palette?.open) palette.close();
      else openPalette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target) || document.querySelector("dialog[open]")) return;
    if (pending) {
      clearTimeout(pending);
      pending = null;
      const place = document.querySelector(`[data-keys="g ${CSS.escape(event.key)}"]`);
      if (place) {
        event.preventDefault();
        window.location.assign(place.href);
      }
    } else if (event.key === "g") {
      pending = setTimeout(() => (pending = null), 1500);
    } else if (KEYS[event.key]) {
      event.preventDefault();
      KEYS[event.key]();
    }
  });

  // ---- dialogs: a button names the one it opens; a click beside one, or on data-dismiss, closes it
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-opens]");
    if (opener) {
      event.preventDefault();
      if (opener.dataset.opens === "palette") openPalette();
      else open(by(opener.dataset.opens));
      return;
    }
    if (event.target instanceof HTMLDialogElement) event.target.close();
    const host = event.target.closest("[data-dismiss]")?.closest(".toast, .notice, dialog");
    if (host instanceof HTMLDialogElement) host.close();
    else host?.remove();
  });

  // a page that is a question stands over the page; to close it is to cancel
  document.querySelectorAll("dialog[data-modal]").forEach((dialog) => {
    dialog.open = false;
    open(dialog);
    dialog.addEventListener("close", () => dialog.querySelector("[data-cancel]").click());
  });

  // ---- one menu at a time, closed by Escape or a click elsewhere
  document.addEventListener("click", (event) => {
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    });
  });

  // ---- toasts: good news goes by itself, unless someone reads or reaches for it; bad news stays
  const PASSES_AFTER_MS = 8_000;

  function pass(toast) {
    if (!toast.isConnected) return;
    if (toast.matches(":hover, :focus-within") || document.hidden) setTimeout(pass, 1_500, toast);
    else toast.remove();
  }

  const watchToasts = () =>
    document.querySelectorAll(".toast[data-passes]:not([data-watched])").forEach((toast) => {
      toast.dataset.watched = "";
      setTimeout(pass, PASSES_AFTER_MS, toast);
    });
  document.addEventListener("htmx:after:swap", watchToasts);
  watchToasts();
  const toasts = by("toasts");
  toasts?.append(...toasts.children); // what is there from the start is read aloud only when it comes anew
  document.querySelector("[data-focus]")?.focus(); // a form's errors

  // ---- the browser's own zone, which only it knows
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  document.querySelectorAll("[data-local-zone]").forEach((button) => {
    button.value = zone;
    button.querySelector("span").textContent = zone;
  });

  // ---- irreversible acts wait until the name is typed; the server asks again
  document.addEventListener("input", (event) => {
    const wanted = event.target.dataset?.mustEqual;
    if (wanted !== undefined) event.target.setCustomValidity(event.target.value === wanted ? "" : `Type ${wanted}`);
  });

  // ---- copying
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const said = button.querySelector(".said");
    try {
      await navigator.clipboard.writeText(by(button.dataset.copy).textContent);
      said.textContent = "Copied";
    } catch {
      said.textContent = "Select and copy it yourself";
    }
    setTimeout(() => (said.textContent = "Copy"), 2_000);
  });

  // ---- a filter's select acts when it changes; without script, the form's button does
  // a filter that is not set has no place in the URL
  document.addEventListener("formdata", (event) => {
    if (event.target.method !== "get") return;
    for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
  });

  document.addEventListener("change", (event) => {
    if (event.target instanceof HTMLSelectElement && event.target.form?.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });
})();

// The keyboard, the command palette, dialogs, menus, toasts and copying: what a page does without asking the server.
const on = (name, act) => document.addEventListener(name, act);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const by = (id) => document.getElementById(id);
const dialogOpen = () => document.querySelector("dialog[open]");
const open = (dialog) => dialog && !dialog.open && dialog.showModal();

// the command palette: the server finds, this file only moves the choice
const palette = by("palette");
const query = by("palette-query");
const options = () => all("[role=option]", palette);
const ask = () => query.dispatchEvent(new CustomEvent("ask"));

function choose(option) {
  options().forEach((each) => each.setAttribute("aria-selected", each === option));
  if (option) query.setAttribute("aria-activedescendant", option.id);
  else query.removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
}

function openPalette() {
  if (!palette || dialogOpen()) return;
  open(palette);
  query.select();
  ask();
}

palette?.addEventListener("htmx:after:swap", () => choose(options()[0]));
query?.addEventListener("htmx:after:init", () => palette.open && ask()); // opened before htmx listened: nobody heard it ask
on("htmx:error", (event) => {
  if (event.detail.ctx?.sourceElement === query) by("palette-hits").textContent = "The server does not answer. Try again in a moment.";
});
query?.addEventListener("keydown", (event) => {
  const hits = options();
  const at = hits.findIndex((option) => option.ariaSelected === "true");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && hits.length) choose(hits[(at + step + hits.length) % hits.length]);
  else if (event.key === "Enter" && hits[at]) hits[at].click();
  else if (event.key === "Escape") palette.close(); // a search field would only empty itself
  else return;
  event.preventDefault();
});

let pending = null; // "g" was pressed a moment ago

function moveRow(step) {
  const rows = all("main tbody th a[href]").filter((link) => link.checkVisibility());
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

on("keydown", (event) => {
  const { key, target } = event;
  const control = event.ctrlKey || event.metaKey;
  if (key === "Escape") {
    all("details.menu[open]").forEach((menu) => {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    });
  } else if (control && !event.altKey && key.toLowerCase() === "k") {
    event.preventDefault();
    if (palette?.open) palette.close();
    else openPalette();
  } else if (control || event.altKey || event.isComposing || target.closest("input, textarea, select, [contenteditable]") || dialogOpen()) {
    return;
  } else if (pending) {
    clearTimeout(pending);
    pending = null;
    document.querySelector(`[data-keys="g ${CSS.escape(key)}"]`)?.click();
  } else if (key === "g") {
    pending = setTimeout(() => (pending = null), 1500);
  } else {
    const own = /^\w$/.test(key) && document.querySelector(`main [data-keys="${key}"]`); // a field or link of this page
    if (!KEYS[key] && !own) return;
    event.preventDefault();
    if (KEYS[key]) KEYS[key]();
    else if (own.matches("a, button")) own.click();
    else own.focus();
  }
});

// a button names the dialog it opens; a click beside one, or on data-dismiss, closes it
on("click", (event) => {
  const { target } = event;
  all("details.menu[open]").forEach((menu) => (menu.open = menu.contains(target))); // one menu at a time
  const opens = target.closest("[data-opens]")?.dataset.opens;
  if (opens) {
    event.preventDefault();
    if (opens === "palette") openPalette();
    else open(by(opens));
    return;
  }
  if (target instanceof HTMLDialogElement) target.close();
  const host = target.closest("[data-dismiss]")?.closest(".toast, .notice, dialog");
  if (host instanceof HTMLDialogElement) host.close();
  else host?.remove();
});

// a page that is a question stands over the page; to close it is to cancel
all("dialog[data-modal]").forEach((dialog) => {
  dialog.open = false;
  open(dialog);
  dialog.addEventListener("close", () => dialog.querySelector("[data-cancel]").click());
});

// a toast with good news goes by itself, unless someone reads or reaches for it; bad news stays
function pass(toast) {
  if (toast.matches(":hover, :focus-within") || document.hidden) setTimeout(pass, 1_500, toast);
  else toast.remove();
}

const watchToasts = () =>
  all(".toast[data-passes]:not([data-watched])").forEach((toast) => {
    toast.dataset.watched = "";
    setTimeout(pass, 8_000, toast);
  });
on("htmx:after:swap", watchToasts);
watchToasts();
const toasts = by("toasts");
toasts?.append(...toasts.children); // what is there from the start is read aloud only when it comes anew
document.querySelector("[data-focus]")?.focus(); // a form's errors

// the browser's own zone, which only it knows
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
all("[data-local-zone]").forEach((button) => {
  button.value = zone;
  button.querySelector("span").textContent = zone;
});

// irreversible acts wait until the name is typed; the server asks again
on("input", ({ target }) => {
  const wanted = target.dataset?.mustEqual;
  if (wanted !== undefined) target.setCustomValidity(target.value === wanted ? "" : `Type ${wanted}`);
});

// what has no room says itself in full under the pointer
on("mouseover", ({ target }) => {
  const cut = target.closest(".clip");
  if (cut && !cut.title && cut.scrollWidth > cut.clientWidth) cut.title = cut.textContent.trim();
});

on("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
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

// a filter that is not set has no place in the URL
on("formdata", ({ target, formData }) => {
  if (target.method !== "get") return;
  for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
});

// a filter's select acts when it changes; without script, the form's button does
on("change", ({ target }) => {
  if (target instanceof HTMLSelectElement && target.form?.matches("[data-submit-on-change]")) target.form.requestSubmit();
});

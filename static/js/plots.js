// Plots. Figures are made on the server and lie in the page as JSON; this file only draws them, in the page's own
// colours, and redraws when a panel was morphed or the colour scheme changed. plotly.js is fetched when first needed.
const libraryUrl = document.querySelector("script[data-plotly]").dataset.plotly;
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
const TOUCH = window.matchMedia("(pointer: coarse)").matches; // there a finger scrolls the page
const LOCAL = document.documentElement.dataset.zone !== undefined; // the person reads local times
const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;
const drawn = new WeakMap(); // plot -> the JSON it shows and the scheme it was drawn in
// Before it inserts the stylesheet of its maps, which our policy forbids and no plot of ours needs, the bundle asks
// whether an element of this id is there already.
const MAP_STYLES = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
let loading = null;

const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

function library() {
  loading ??= new Promise((resolve, reject) => {
    document.head.append(make("template", { id: MAP_STYLES }));
    const onerror = () => reject(new Error("the plot library did not load"));
    const script = make("script", { src: libraryUrl, onload: () => resolve(window.Plotly), onerror });
    requestAnimationFrame(() => setTimeout(() => document.head.append(script))); // the page is painted first
  });
  return loading;
}

const probe = make("span", { hidden: true });
document.body.append(probe);
const names = new Set(); // of every colour that was asked for
function colour(name, scheme = "") {
  names.add(name);
  probe.style.color = name;
  probe.style.colorScheme = scheme;
  return getComputedStyle(probe).color;
}

// plotly.js knows no zones: it is given the clock's digits, UTC or local, and gives them back
const millis = (digits) => Date.parse(`${digits.replace(" ", "T")}${LOCAL ? "" : "Z"}`);
function local(utc) {
  const at = new Date(`${utc.replace(" ", "T")}Z`);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ");
}

// "var(--plot-1)" in a figure becomes the colour it has in this scheme, a time what the person's clock shows
function resolved(value) {
  if (Array.isArray(value)) return value.map(resolved);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(item)]));
  if (typeof value !== "string") return value;
  if (value.startsWith("var(--")) return colour(value);
  return LOCAL && TIME.test(value) ? local(value) : value;
}

function show(from, to) {
  const url = new URL(window.location.href);
  url.searchParams.set("from", Math.round(from));
  url.searchParams.set("to", Math.round(to));
  for (const name of ["zone", "page", "after", "before"]) url.searchParams.delete(name);
  window.location.assign(url);
}

function zoomed({ "xaxis.range[0]": from, "xaxis.range[1]": to }) {
  if (from && to) show(millis(from), millis(to));
}

// a double click shows twice the time around the same middle, but nothing of the future
function widened(plot) {
  const [from, to] = plot.layout.xaxis.range.map(millis);
  show(from - (to - from) / 2, Math.min(to + (to - from) / 2, Date.now()));
}

async function draw(plot) {
  const source = document.getElementById(plot.dataset.figure);
  if (!source) return;
  const key = source.textContent + colour("var(--ink)");
  if (drawn.get(plot) === key) return;
  const first = !drawn.has(plot);
  drawn.set(plot, key);
  try {
    const plotly = await library();
    if (first) plot.replaceChildren();
    const figure = resolved(JSON.parse(source.textContent));
    if (TOUCH) figure.layout.dragmode = false;
    await plotly.react(plot, figure.data, figure.layout, CONFIG);
    if (first && plot.dataset.zoom !== undefined) {
      plot.on("plotly_relayout", zoomed);
      plot.on("plotly_doubleclick", () => widened(plot));
    }
  } catch (error) {
    drawn.delete(plot);
    plot.textContent = `The plot cannot be drawn (${error.message}). The table below has its numbers.`;
  }
}

const drawAll = () => document.querySelectorAll("[data-figure]").forEach(draw);

document.addEventListener("htmx:after:swap", drawAll);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();

// Paper is narrower than the window: with a view box a picture shrinks to it, whole; and in the light scheme's colours.
const pictures = (more = "") => document.querySelectorAll(`.main-svg${more}`);
let inked = []; // [style, property, its colour on the screen]
addEventListener("beforeprint", () => {
  pictures().forEach((svg) => svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`));
  const light = new Map([...names].map((name) => [colour(name), colour(name, "light")]));
  for (const { style } of pictures(" [style]")) for (const part of ["fill", "stroke"]) {
    const shown = style[part];
    if (light.has(shown)) inked.push([style, part, shown]) && (style[part] = light.get(shown));
  }
});
addEventListener("afterprint", () => {
  pictures().forEach((svg) => svg.removeAttribute("viewBox"));
  for (const [style, part, shown] of inked) style[part] = shown;
  inked = [];
});

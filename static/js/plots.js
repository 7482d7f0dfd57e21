// Plots. Figures are made on the server and lie in the page as JSON; this file only draws them, in the page's own
// colours, and redraws when a panel was morphed or the colour scheme changed. plotly.js is fetched when first needed.
(() => {
  "use strict";

  const libraryUrl = document.currentScript.dataset.plotly;
  const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false };
  const drawn = new WeakMap(); // plot -> the JSON it shows and the scheme it was drawn in
  // Before it inserts the stylesheet of its maps, which our policy forbids and no plot of ours needs, the bundle asks
  // whether an element of this id is there already.
  const MAP_STYLES = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
  let loading = null;

  function library() {
    loading ??= new Promise((resolve, reject) => {
      const styles = document.createElement("template");
      styles.id = MAP_STYLES;
      document.head.append(styles);
      const script = document.createElement("script");
      script.src = libraryUrl;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error("the plot library did not load"));
      document.head.append(script);
    });
    return loading;
  }

  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);

  // "var(--plot-1)" in a figure becomes the colour it has in this scheme
  function resolved(value) {
    if (typeof value === "string" && value.startsWith("var(--")) {
      probe.style.color = value;
      return getComputedStyle(probe).color;
    }
    if (Array.isArray(value)) return value.map(resolved);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(item)]));
    return value;
  }

  function scheme() {
    probe.style.color = "var(--ink)";
    return getComputedStyle(probe).color;
  }

  function zoomed(plot, event) {
    const from = event["xaxis.range[0]"];
    const to = event["xaxis.range[1]"];
    if (!from || !to || plot.dataset.zoom === undefined) return;
    const url = new URL(window.location.href);
    const utc = (text) => Date.parse(`${text.replace(" ", "T")}Z`);
    url.searchParams.set("from", String(utc(from)));
    url.searchParams.set("to", String(utc(to)));
    window.location.assign(url);
  }

  async function draw(plot) {
    const source = document.getElementById(plot.dataset.figure);
    if (!source) return;
    const key = source.textContent + scheme();
    if (drawn.get(plot) === key) return;
    const first = !drawn.has(plot);
    drawn.set(plot, key);
    try {
      const plotly = await library();
      if (first) plot.replaceChildren();
      const figure = resolved(JSON.parse(source.textContent));
      await plotly.react(plot, figure.data, figure.layout, CONFIG);
      if (first) plot.on("plotly_relayout", (event) => zoomed(plot, event));
    } catch (error) {
      drawn.delete(plot);
      plot.textContent = `The plot cannot be drawn (${error.message}). The table below has its numbers.`;
    }
  }

  const drawAll = () => document.querySelectorAll("[data-figure]").forEach(draw);

  document.addEventListener("htmx:after:swap", drawAll);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();

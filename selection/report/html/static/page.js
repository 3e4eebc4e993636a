"use strict";
// Draws the charts of a page when they come into sight, and keeps a live page up to date.

const dark = matchMedia("(prefers-color-scheme: dark)");
const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The figures bring no colours of text and lines: they are those of the page, dark or light.
function themed(layout) {
  const ink = colour("--ink");
  const line = colour("--line");
  const result = {
    ...layout,
    height: layout.height ?? 340,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { ...layout.font, color: ink, family: "system-ui, sans-serif" },
    hoverlabel: { ...layout.hoverlabel, font: { family: "system-ui, sans-serif" } },
  };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(key)) {
      result[key] = { gridcolor: line, zerolinecolor: line, linecolor: line, ...layout[key] };
    }
  }
  return result;
}

// The darkest blue of the palette is dim on a dark page.
function show(plot) {
  const text = dark.matches ? plot.drawn.replaceAll("#0072B2", "#3D9BDC") : plot.drawn;
  const figure = JSON.parse(text);
  return Plotly.react(plot, figure.data, themed(figure.layout), config);
}

function say(plot, text) {
  const line = document.createElement("p");
  line.className = "quiet";
  line.textContent = text;
  if (plot.drawn) Plotly.purge(plot);
  plot.drawn = "";
  plot.classList.add("empty");
  plot.replaceChildren(line);
}

async function read(plot) {
  if (plot.dataset.inline) {
    return JSON.parse(document.getElementById(plot.dataset.inline).textContent);
  }
  const response = await fetch(plot.dataset.src);
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  return response.json();
}

async function draw(plot) {
  try {
    const figure = await read(plot);
    if (figure === null) {
      say(plot, "Nothing to show yet.");
      return;
    }
    if (!figure.data.length && figure.layout.meta?.why) {
      say(plot, figure.layout.meta.why);
      return;
    }
    const text = JSON.stringify(figure);
    if (plot.drawn === text) return;
    if (!plot.drawn) plot.replaceChildren();
    plot.classList.remove("empty");
    plot.drawn = text;
    await show(plot);
  } catch (error) {
    if (!plot.drawn) say(plot, `This chart could not be drawn: ${error.message}.`);
  }
}

const sight = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      entry.target.dataset.seen = "yes";
      sight.unobserve(entry.target);
      draw(entry.target);
    }
  }
}, { rootMargin: "300px" });

document.querySelectorAll(".plot").forEach((plot) => sight.observe(plot));
addEventListener("beforeprint", () => document.querySelectorAll(".plot:not([data-seen])").forEach(draw));
dark.addEventListener("change", () => {
  for (const plot of document.querySelectorAll(".plot")) {
    if (plot.drawn) show(plot);
  }
});

// A page that is live names its content by data-etag on an element with data-poll.
const state = () => document.querySelector("[data-etag]");

async function load(address, etag) {
  const headers = etag ? { "If-None-Match": etag } : {};
  const response = await fetch(address, { headers, cache: "no-store" });
  if (response.status === 304) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok) throw new Error(page.querySelector("main")?.textContent.trim() ?? "an error");
  const before = state()?.dataset.version;
  const focused = document.activeElement?.id;
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = page.getElementById(part.id);
    if (!news) continue;
    // Where the charts are the same ones, those that are drawn stay.
    const { outline } = news.dataset;
    if (outline !== undefined && outline === part.dataset.outline) continue;
    const open = part.querySelector("details")?.open;
    part.innerHTML = news.innerHTML;
    part.querySelectorAll(".plot").forEach((plot) => sight.observe(plot));
    Object.assign(part.dataset, news.dataset);
    if (open !== undefined && part.querySelector("details")) part.querySelector("details").open = open;
  }
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  if (state()?.dataset.version !== before) {
    document.querySelectorAll(".plot[data-seen]").forEach(draw);
  }
}

function trouble(text) {
  const line = document.getElementById("trouble");
  line.hidden = !text;
  line.textContent = text;
}

async function poll() {
  if (!document.hidden) {
    try {
      await load(location.href, state().dataset.etag);
      trouble("");
    } catch (error) {
      const now = new Date().toLocaleTimeString();
      trouble(`The page is not up to date since ${now}: ${error.message}`);
    }
  }
  setTimeout(poll, 1000 * Number(state().dataset.poll));
}

let shown = location.search;

async function swap(address) {
  try {
    await load(address);
    history.pushState(null, "", address);
    shown = location.search;
  } catch {
    location.assign(address);
  }
}

if (state()) {
  setTimeout(poll, 1000 * Number(state().dataset.poll));
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    swap(link.href);
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-swap]")) return;
    event.preventDefault();
    swap(`?${new URLSearchParams(new FormData(event.target))}`);
  });
  addEventListener("popstate", () => {
    // A jump inside the page says so too.
    if (location.search !== shown) location.reload();
  });
}

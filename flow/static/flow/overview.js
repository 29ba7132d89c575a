// The overview works as plain links. This module makes them quick: it swaps the page's content
// without a reload, moves the chart's tip, answers keys, and looks for new figures.

const KEYS = { d: "today", e: "yesterday", w: "7d", m: "28d", y: "12mo" };
const PULSE_MS = 5000;
let page = document.getElementById("page");
let asked = 0;

async function show(address, { push = true, quiet = false } = {}) {
  const mine = ++asked;
  if (!quiet) page.classList.add("loading");
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return void location.assign(address);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (mine !== asked) return; // a later click was quicker
  const next = fresh.getElementById("page");
  if (!next) return void location.assign(address);
  const held = page.contains(document.activeElement) ? document.activeElement : null;
  const place = held && [...page.querySelectorAll("a, summary")].indexOf(held);
  page.replaceWith(next);
  page = next;
  document.title = fresh.title;
  if (push) history.pushState(null, "", address);
  // Whoever walks the page with the keyboard stays where they were.
  if (held) [...page.querySelectorAll("a, summary")][place]?.focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  if (event.target.id === "help-open") return help();
  const link = event.target.closest("#page a[href]");
  const point = event.target.closest("#page [data-href]");
  if (point) return void show(location.pathname + point.dataset.href);
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  const href = link?.getAttribute("href");
  if (plain && href?.startsWith("?")) {
    event.preventDefault();
    show(location.pathname + href);
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

function help() {
  const dialog = page.querySelector("#help");
  const off = dialog.querySelector("#keys-off");
  off.checked = localStorage.getItem("keys") === "off";
  off.onchange = () => localStorage.setItem("keys", off.checked ? "off" : "on");
  dialog.showModal();
}

addEventListener("popstate", () => show(location.href, { push: false }));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
  if (localStorage.getItem("keys") === "off") return; // WCAG 2.1.4: they can be switched off
  if (event.metaKey || event.ctrlKey || event.altKey || event.target.closest("input, textarea, select")) return;
  const key = event.key.toLowerCase();
  if (KEYS[key]) page.querySelector(`a[data-preset="${KEYS[key]}"]`)?.click();
  else if (key === "x") page.querySelector("a.clear")?.click();
  else if (key === "r") location.assign(document.querySelector('nav a[href*="reports"]').href);
  else if (key === "?") help();
  else if ("spc".includes(key)) {
    const summary = page.querySelector(`summary[data-key="${key}"]`);
    summary.click();
    summary.focus();
  }
});

document.addEventListener("pointermove", (event) => {
  const tip = page.querySelector(".tip");
  const hit = event.target.closest?.(".chart .hit");
  for (const old of page.querySelectorAll(".chart .marker")) old.remove();
  tip.hidden = !hit;
  if (!hit) return;
  const { label, value, before, dark, x, y } = hit.dataset;
  tip.replaceChildren();
  const line = (text, name) => {
    const part = document.createElement("span");
    part.textContent = text;
    part.className = name;
    tip.append(part);
  };
  line(label, "when");
  line(value, "value");
  if (before) line(`${before} before`, "before");
  if (dark !== "0") line(`sensor silent ${dark} % of opening hours`, "gap");
  const svg = hit.closest("svg");
  const card = tip.parentElement.getBoundingClientRect();
  const box = hit.getBoundingClientRect();
  const middle = box.left + box.width / 2 - card.left;
  // Positions set by script are not inline styles to the content security policy.
  tip.style.left = `${Math.min(Math.max(middle, 80), card.width - 80)}px`;
  if (y) {
    const marker = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [name, what] of Object.entries({ class: "marker", cx: x, cy: y, r: 4 })) {
      marker.setAttribute(name, what);
    }
    svg.append(marker);
  }
});

setInterval(async () => {
  if (document.hidden || !page.dataset.live || page.querySelector("details[open], dialog[open]")) return;
  try {
    const answer = await fetch(page.dataset.pulse + location.search);
    if (!answer.ok) return;
    const { version } = await answer.json();
    if (String(version) !== page.dataset.version) show(location.href, { push: false, quiet: true });
  } catch { /* the network is away; the next pulse tries again */ }
}, PULSE_MS);

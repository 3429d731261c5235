"use strict";
// The page is its own data: rows carry their times, fields their speakers. Nothing is ever parsed as markup.

const $ = (id) => document.getElementById(id);
const media = document.querySelector("audio, video");
const rows = [...document.getElementsByClassName("row")];
const starts = Float64Array.from(rows, (row) => Number(row.dataset.start));
const ends = Float64Array.from(rows, (row) => Number(row.dataset.end));
const reach = ends.slice(); // how far any row up to this one goes: people talk at the same time
for (let i = 1; i < reach.length; i++) reach[i] = Math.max(reach[i], reach[i - 1]);

// The recording

const SKIP = 5; // seconds
const GRAIN = 0.001; // seconds; a browser may stop that much before the moment it was sent to

function moment() {
  return media.currentTime + GRAIN;
}

function play() {
  media.play().catch(() => {}); // a recording that is not there is reported by its own event
}

function missed() {
  $("absent").hidden = false;
}

function choose() {
  const file = $("choose").files[0];
  if (!file) return;
  URL.revokeObjectURL(media.src);
  media.src = URL.createObjectURL(file);
  $("absent").hidden = true;
  $("other-size").hidden = file.size === Number(media.dataset.size);
}

media.addEventListener("error", missed);
media.addEventListener("loadedmetadata", () => media.classList.toggle("blind", media.videoWidth === 0));
$("choose").addEventListener("change", choose);
if (media.error || !media.getAttribute("src")) missed();

// What is being said

let current = [];

function lastStarted(seconds) {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (starts[middle] <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function saidAt(seconds) {
  const found = [];
  for (let i = lastStarted(seconds); i >= 0 && reach[i] > seconds; i--) if (ends[i] > seconds) found.push(i);
  return found;
}

function mark() {
  const said = saidAt(moment());
  for (const i of current.filter((i) => !said.includes(i))) point(rows[i], false);
  const fresh = said.filter((i) => !current.includes(i));
  for (const i of fresh) point(rows[i], true);
  current = said;
  if (fresh.length && $("follow").checked) show(rows[fresh[0]]);
}

function point(row, on) {
  row.classList.toggle("now", on);
  if (on) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
}

function show(row) {
  const box = row.getBoundingClientRect();
  if (box.top < $("bar").getBoundingClientRect().bottom || box.bottom > innerHeight) row.scrollIntoView({ block: "center" });
}

for (const event of ["timeupdate", "seeking"]) media.addEventListener(event, mark);
for (const event of ["wheel", "touchmove"]) {
  addEventListener(event, () => ($("follow").checked = $("follow").checked && media.paused), { passive: true });
}

// Jumps

function jump(event) {
  const at = event.target.closest("[data-start]");
  if (!at || event.ctrlKey || event.metaKey || event.shiftKey || !getSelection().isCollapsed) return;
  event.preventDefault();
  media.currentTime = Number(at.dataset.start);
  play();
}

function step(by) {
  const to = lastStarted(moment()) + by;
  if (rows.length) media.currentTime = starts[Math.min(rows.length - 1, Math.max(0, to))];
}

function arrive() {
  const row = $(location.hash.slice(1));
  if (row?.dataset.start) media.currentTime = Number(row.dataset.start);
}

$("transcript").addEventListener("click", jump);
addEventListener("hashchange", arrive);
arrive();

// Search

const WAIT = 150; // milliseconds without another key before it searches
const highlights = { hit: globalThis.Highlight && new Highlight(), now: globalThis.Highlight && new Highlight() };
if (globalThis.Highlight) {
  CSS.highlights.set("hit", highlights.hit);
  CSS.highlights.set("hit-now", highlights.now);
  highlights.now.priority = 1;
}
const texts = rows.map((row) => row.querySelector(".said").firstChild);
let hits = [];
let at = -1;
let timer = 0;

function pattern(words) {
  return new RegExp(words.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replace(/\s+/g, "\\s+"), "giu");
}

function find() {
  const words = $("query").value.trim();
  hits = words ? matches(pattern(words)) : [];
  highlights.hit?.clear();
  for (const hit of hits) highlights.hit?.add(hit.range);
  at = -1;
  turnTo(1);
}

function matches(words) {
  return rows.flatMap((row, i) =>
    Array.from(texts[i].data.matchAll(words), (found) => ({ row, range: range(texts[i], found.index, found[0].length) })),
  );
}

function range(text, start, length) {
  return new StaticRange({
    startContainer: text,
    startOffset: start,
    endContainer: text,
    endOffset: start + length,
  });
}

function turnTo(by) {
  document.querySelector(".found")?.classList.remove("found");
  highlights.now?.clear();
  if (hits.length) {
    at = (at + by + hits.length) % hits.length;
    hits[at].row.classList.add("found");
    highlights.now?.add(hits[at].range);
    $("follow").checked = false;
    show(hits[at].row);
  }
  const words = $("query").value.trim();
  $("count").value = hits.length ? `${at + 1} of ${hits.length}` : words && "no hits";
}

function searchKey(event) {
  if (event.key === "Enter") turnTo(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") {
    $("query").value = "";
    $("query").blur();
    find();
  }
}

$("query").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(find, WAIT);
});
$("query").addEventListener("keydown", searchKey);
$("next").addEventListener("click", () => turnTo(1));
$("previous").addEventListener("click", () => turnTo(-1));
$("tools").hidden = false;

// Names

const fields = [...document.querySelectorAll("input[data-speaker]")];
const storageKey = `dropscribe:${document.body.dataset.job}`;

function stored() {
  try {
    return JSON.parse(localStorage.getItem(storageKey)) ?? {};
  } catch {
    return {}; // no storage for this page, or not what we left there
  }
}

function name(field) {
  return field.value.replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "").trim();
}

function changed() {
  return fields.filter((field) => name(field) !== field.dataset.name);
}

function quoted(word) {
  return /^[\w=.,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function showNames() {
  for (const field of fields) {
    const called = name(field) || field.placeholder;
    for (const place of document.querySelectorAll(`[data-who="${field.dataset.speaker}"]`)) place.textContent = called;
  }
  const names = changed().map((field) => `--name ${quoted(`${field.dataset.speaker}=${name(field)}`)}`);
  $("command").textContent = ["dropscribe speakers", quoted(document.body.dataset.job), ...names].join(" ");
  $("rename").hidden = !names.length;
  $("copied").value = "";
}

function keepNames() {
  showNames();
  try {
    const names = changed().map((field) => [field.dataset.speaker, name(field)]);
    localStorage.setItem(storageKey, JSON.stringify(Object.fromEntries(names)));
  } catch {
    $("copied").value = "This browser does not keep names for this page.";
  }
}

async function copy() {
  getSelection().selectAllChildren($("command"));
  try {
    await navigator.clipboard.writeText($("command").textContent);
    $("copied").value = "Copied.";
  } catch {
    $("copied").value = "Copy what is selected.";
  }
}

if (fields.length) {
  const names = stored();
  for (const field of fields) {
    const own = names[field.dataset.speaker];
    if (typeof own === "string") field.value = own;
    field.addEventListener("change", keepNames);
  }
  $("copy").addEventListener("click", copy);
  showNames();
}

// Keys

const keys = new Map([
  [" ", () => (media.paused ? play() : media.pause())],
  ["ArrowLeft", () => (media.currentTime -= SKIP)],
  ["ArrowRight", () => (media.currentTime += SKIP)],
  ["ArrowUp", () => step(-1)],
  ["ArrowDown", () => step(1)],
  ["/", () => $("query").select()],
  ["n", () => turnTo(1)],
  ["p", () => turnTo(-1)],
  ["f", () => $("follow").click()],
  ["?", () => $("help").showModal()],
]);

function press(event) {
  const act = keys.get(event.key);
  const own = event.target.closest("input, button, audio, video");
  if (!act || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if (own?.matches("input:not([type=checkbox])")) return; // somebody writes
  if (own && (event.key === " " || event.key.startsWith("Arrow"))) return; // these work it
  event.preventDefault();
  act();
}

addEventListener("keydown", press);
$("keys").addEventListener("click", () => $("help").showModal());
$("close").addEventListener("click", () => $("help").close());

// The page of a recording: text that follows the sound, search, and corrections. Nothing is ever parsed as markup.

import { ask, problem, say } from "./page.js";

const $ = (id) => document.getElementById(id);
const place = $("transcript");
const job = place.dataset.job;
const mayChange = "mayChange" in place.dataset;
const mayEnroll = "mayEnroll" in place.dataset;
const media = $("media");

const PIECE = 500; // segments that are asked for at once
const SLICE = 50; // rows that are drawn together
const NEAR = "2000px"; // how near to what is in sight rows are drawn
const COLOURS = 8;
const SKIP = 5; // seconds
const GRAIN = 0.001; // seconds; a browser may stop that much before the moment it was sent to

let segments = [];
let speakers = new Map(); // number: what is known of them
let next = 0; // the number of somebody new
let uncovered = [];
let revision = 0;
let slices = []; // of the rows, in order
let sliceOf = []; // by segment; none for one that is not shown
let rows = []; // by segment; those that are drawn
let isAll = false; // is the transcript shown to its end?
let loads = 0;
let isComing = true; // to the moment that the address names

// Loading

async function piece(first, limit) {
  return ask("GET", `/recordings/${job}/segments?first=${first}&limit=${limit}`);
}

function know(found) {
  speakers = new Map(found.speakers.map((one) => [one.number, one]));
  next = found.next_speaker;
  uncovered = found.uncovered_speech;
  revision = found.revision;
}

/** Read all of the transcript; begins again where somebody corrects it meanwhile. One that is shown stays until all is read. */
async function load() {
  const own = ++loads;
  $("loading").hidden = false;
  for (let all = [], read = 0; ; ) {
    const found = await piece(all.length, PIECE);
    if (own !== loads) return; // it is read once more by now
    if (all.length && found.revision !== read) {
      all = [];
      continue;
    }
    read = found.revision;
    all.push(...found.segments);
    const isLast = all.length >= found.total || !found.segments.length;
    if (isLast || !isAll) showRead(found, all, isLast);
    if (isLast) break;
  }
  $("loading").hidden = true;
  await showHistory();
}

/** Show what was read, in the place of what is there or after it; what somebody is writing goes on. */
function showRead(found, all, isLast) {
  const isNew = isAll || all.length === found.segments.length;
  const [own, view] = [editor, topRow()];
  know(found);
  segments = all;
  if (isNew) clear();
  lay(isLast);
  isAll = isLast;
  measure();
  collect();
  if (isComing && (isLast || asked() < starts.at(-1))) arrive();
  if (!isNew) return;
  showPeople();
  if (view) scrollBy(0, (draw(Math.min(view.id, all.length - 1))?.getBoundingClientRect().top ?? view.top) - view.top);
  if (own) reopen(own);
}

// Drawing

function make(tag, values = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...inside);
  return made;
}

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

function called(number) {
  return number === null ? "Somebody" : (speakers.get(number)?.called ?? `Speaker ${number + 1}`);
}

// A row is drawn when it comes near to what is in sight, and taken away when it is far: ten hours have 20,000.

let laid = { segments: 0, gaps: 0, last: null }; // how much of the transcript has its place

function clear() {
  near.disconnect();
  place.replaceChildren();
  [slices, sliceOf, rows, current, editor] = [[], [], [], [], null];
  laid = { segments: 0, gaps: 0, last: null };
}

/** Give what was read its place, in slices that are drawn later. */
function lay(isLast) {
  for (; laid.segments < segments.length; laid.segments++) {
    const segment = segments[laid.segments];
    if (!segment.text && !mayChange) continue;
    layGaps(segment.start);
    put({ segment: segment.id, isNew: laid.last?.speaker !== segment.speaker });
    sliceOf[segment.id] = slices.at(-1);
    laid.last = segment;
  }
  if (isLast) layGaps(Infinity);
}

function layGaps(until) {
  for (; laid.gaps < uncovered.length && uncovered[laid.gaps].start <= until; laid.gaps++) {
    put({ gap: uncovered[laid.gaps] });
    laid.last = null;
  }
}

function put(part) {
  let slice = slices.at(-1);
  if (!slice || slice.parts.length === SLICE || slice.box.hasChildNodes()) {
    slice = { box: make("div", { className: "slice" }), parts: [] };
    slices.push(slice);
    place.append(slice.box);
    slice.box.dataset.slice = slices.length - 1;
    near.observe(slice.box);
  }
  slice.parts.push(part);
  slice.box.style.height = `${2 * slice.parts.length}rem`; // until it is known
}

const near = new IntersectionObserver(
  (changed) => {
    for (const { target, isIntersecting, boundingClientRect } of changed) {
      const slice = slices[target.dataset.slice];
      if (slice?.box !== target) continue;
      if (isIntersecting) fill(slice);
      else if (!isUsed(slice)) empty(slice, boundingClientRect.height);
    }
    mark();
    paint();
  },
  { rootMargin: `${NEAR} 0px` },
);

function isUsed({ box }) {
  const selected = getSelection();
  return box.contains(document.activeElement) || box.contains(editor?.box ?? null) || (!selected.isCollapsed && selected.containsNode(box, true));
}

function empty({ box, parts }, height) {
  if (!box.hasChildNodes()) return;
  box.style.height = `${height}px`;
  box.replaceChildren();
  for (const { segment } of parts) delete rows[segment];
}

function fill({ box, parts }) {
  if (box.hasChildNodes()) return;
  let turn = null;
  let last = null;
  for (const { segment: id, isNew, gap } of parts) {
    const segment = segments[id];
    if (gap) box.append(uncoveredRow(gap));
    else if (!turn || last?.speaker !== segment.speaker || last?.kind !== segment.kind) box.append((turn = turnOf(segment, !isNew)));
    last = segment;
    if (segment) turn.append((rows[id] = rowOf(segment)));
  }
  box.style.height = "";
}

/** The row of a segment, which is drawn for that, as are those around it; none where it is not shown. */
function draw(id) {
  const slice = sliceOf[id];
  if (!slice) return null;
  const number = Number(slice.box.dataset.slice);
  slices.slice(Math.max(0, number - 1), number + 2).forEach(fill);
  return rows[id];
}

/** The first row in sight: its segment, and how far from the top it is. */
function topRow() {
  const low = $("bar").getBoundingClientRect().bottom;
  const row = Object.values(rows).find((one) => one.getBoundingClientRect().bottom > low);
  return row && scrollY > 0 ? { id: Number(row.dataset.id), top: row.getBoundingClientRect().top } : null;
}

addEventListener("beforeprint", () => slices.forEach(fill));

function turnOf(segment, goesOn) {
  const turn = make("section", { className: "turn" });
  if (segment.speaker !== null) turn.classList.add(`c${segment.speaker % COLOURS}`);
  if (segment.kind !== "speech" || goesOn) return turn;
  const name = make("span", { textContent: called(segment.speaker), dir: "auto" });
  const head = make("h2", {}, name);
  if (mayChange) {
    const change = make("button", { type: "button", textContent: "Change", className: "quiet" });
    change.dataset.who = segment.id;
    change.setAttribute("aria-label", `Change who speaks at ${clock(segment.start)}: ${called(segment.speaker)}`);
    head.append(" ", change);
  }
  turn.append(head);
  return turn;
}

function rowOf(segment) {
  const row = make("p", { className: "row", id: `s${segment.id}` });
  if (segment.kind !== "speech") row.classList.add("sound");
  if (segment.unsure) row.classList.add("unsure");
  if (segment.corrected) row.classList.add("corrected");
  if (hits[at]?.[0] === segment.id) row.classList.add("found");
  row.dataset.id = segment.id;
  const time = make("a", { href: `#t=${segment.start.toFixed(3)}`, textContent: clock(segment.start) });
  row.append(time, " ", make("span", { className: "said", dir: "auto", textContent: segment.text || "(nothing)" }));
  if (mayChange) {
    const change = make("button", { type: "button", textContent: "Correct", className: "quiet" });
    change.dataset.edit = segment.id;
    change.setAttribute("aria-label", `Correct the text at ${clock(segment.start)}`);
    row.append(" ", change);
  }
  if (segment.unsure) row.append(make("small", { lang: "en", textContent: `unsure: confidence ${Math.floor(100 * segment.confidence)}%` }));
  if (segment.corrected) row.append(make("small", { lang: "en", textContent: "corrected by a person" }));
  return row;
}

function uncoveredRow(span) {
  const text = `${clock(span.start)} to ${clock(Math.ceil(span.end))}: speech that this transcript does not cover`;
  return make("p", { className: "gap uncovered", lang: "en" }, make("a", { href: `#t=${span.start.toFixed(3)}`, textContent: text }));
}

// The sound

let starts = [];
let reach = []; // how far any segment up to this one goes: people talk at the same time
let current = [];

function measure() {
  starts = Float64Array.from(segments, (one) => one.start);
  reach = Float64Array.from(segments, (one) => one.end);
  for (let i = 1; i < reach.length; i++) reach[i] = Math.max(reach[i], reach[i - 1]);
  mark();
}

function moment() {
  return media.currentTime + GRAIN;
}

function play() {
  media.play().catch(() => {}); // a recording that is missing has an event of its own
}

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
  for (let i = lastStarted(seconds); i >= 0 && reach[i] > seconds; i--) {
    if (segments[i].end > seconds && sliceOf[i]) found.push(i);
  }
  return found;
}

const spoken = globalThis.Highlight && new Highlight(); // the word that is being said
if (spoken) CSS.highlights.set("spoken", spoken);

function mark() {
  const said = saidAt(moment());
  for (const i of current) if (!said.includes(i)) point(i, false);
  const fresh = said.find((i) => !current.includes(i));
  current = said;
  if (fresh !== undefined && $("follow").checked) show(fresh);
  for (const i of said) point(i, true);
  markWord();
}

function markWord() {
  spoken?.clear();
  for (const i of current) {
    const word = placedWords(segments[i]).find((one) => one.start <= moment() && moment() < one.end);
    const text = textOf(i);
    if (word && text) spoken?.add(range(text, word.from, word.to));
  }
}

function point(i, on) {
  rows[i]?.classList.toggle("now", on);
  if (on) rows[i]?.setAttribute("aria-current", "true");
  else rows[i]?.removeAttribute("aria-current");
}

function show(i) {
  const row = draw(i);
  if (!row) return;
  const box = row.getBoundingClientRect();
  if (box.top < $("bar").getBoundingClientRect().bottom || box.bottom > innerHeight) row.scrollIntoView({ block: "center" });
}

function textOf(i) {
  const said = rows[i]?.querySelector(".said");
  return segments[i].text ? said?.firstChild : null;
}

function range(text, start, end) {
  return new StaticRange({ startContainer: text, startOffset: start, endContainer: text, endOffset: end });
}

/** The words of a segment with their places in its text. */
function placedWords(segment) {
  let from = 0;
  const found = [];
  for (const [start, end, text] of segment.words) {
    const at = segment.text.indexOf(text, from);
    if (at < 0) continue;
    from = at + text.length;
    found.push({ start, end, from: at, to: from });
  }
  return found;
}

function momentOf(event, id) {
  const said = document.caretPositionFromPoint?.(event.clientX, event.clientY);
  const words = said && said.offsetNode === textOf(id) ? placedWords(segments[id]) : [];
  return words.find((one) => said.offset <= one.to)?.start ?? segments[id].start;
}

function goTo(seconds) {
  media.currentTime = seconds;
  play();
}

function step(by) {
  const to = Math.min(segments.length - 1, Math.max(0, lastStarted(moment()) + by));
  if (segments.length) media.currentTime = starts[to];
}

/** The moment that the address names. */
function asked() {
  return Number(/^#t=(\d+(\.\d+)?)$/.exec(location.hash)?.[1] ?? NaN);
}

function arrive() {
  isComing = false;
  if (Number.isNaN(asked())) return;
  goTo(asked());
  show(lastStarted(asked() + GRAIN));
}

media.addEventListener("error", () => ($("absent").hidden = false));
if (media.error) $("absent").hidden = false;
media.addEventListener("loadedmetadata", () => media.classList.toggle("blind", !media.videoWidth));
for (const event of ["timeupdate", "seeking"]) media.addEventListener(event, mark);
for (const event of ["wheel", "touchmove"]) {
  addEventListener(event, () => ($("follow").checked = $("follow").checked && media.paused), { passive: true });
}
addEventListener("hashchange", arrive);

// Search

const WAIT = 150; // milliseconds without another key before it searches
const marks = { hit: globalThis.Highlight && new Highlight(), now: globalThis.Highlight && new Highlight() };
if (marks.hit) {
  CSS.highlights.set("hit", marks.hit);
  CSS.highlights.set("hit-now", marks.now);
  marks.now.priority = 1;
}
let hits = []; // [segment, match]
let at = -1;
let timer = 0;

function find() {
  at = -1;
  collect();
  turnTo(1);
}

/** Look for what is asked for in all that was read. */
function collect() {
  const words = $("query").value.trim();
  const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replace(/\s+/g, "\\s+"), "giu");
  const shown = words ? segments.filter((one) => sliceOf[one.id]) : [];
  hits = shown.flatMap((one) => [...one.text.matchAll(pattern)].map((hit) => [one.id, hit]));
  at = Math.min(at, hits.length - 1);
  paint();
}

/** Mark the hits that are drawn. */
function paint() {
  marks.hit?.clear();
  marks.now?.clear();
  for (const hit of hits) if (rows[hit[0]]) marks.hit?.add(rangeOf(hit));
  if (rows[hits[at]?.[0]]) marks.now?.add(rangeOf(hits[at]));
  $("count").value = hits.length ? `${at + 1} of ${hits.length}` : $("query").value.trim() && "no hits";
}

function rangeOf([id, hit]) {
  return range(textOf(id), hit.index, hit.index + hit[0].length);
}

function turnTo(by) {
  document.querySelector(".found")?.classList.remove("found");
  if (hits.length) {
    at = (at + by + hits.length) % hits.length;
    draw(hits[at][0]).classList.add("found");
    $("follow").checked = false;
    show(hits[at][0]);
  }
  paint();
}

$("query").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(find, WAIT);
});
$("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter") turnTo(event.shiftKey ? -1 : 1);
  if (event.key !== "Escape") return;
  $("query").value = "";
  $("query").blur();
  find();
});
$("next").addEventListener("click", () => turnTo(1));
$("previous").addEventListener("click", () => turnTo(-1));

// Corrections

/** Change the transcript as it is shown; true if that was done. Otherwise it says why, and reads again what others made of it. */
async function change(method, path, body) {
  try {
    const answer = await fetch(`/api/v1/recordings/${job}${path}`, {
      method,
      headers: { "If-Match": `"${revision}"`, "Content-Type": "application/json" },
      body: body && JSON.stringify(body),
    });
    if (answer.ok) {
      revision = Number(answer.headers.get("ETag").replaceAll('"', ""));
      return true;
    }
    const why = problem(answer, await answer.text());
    if (answer.status === 412) await load();
    say(answer.status === 412 ? `${why}. It has been loaded again here.` : why);
  } catch (error) {
    say(`This was not saved: ${error.message}. Try again.`);
  }
  return false;
}

/** Read all of it again and say what was done; what could not be read is said as well. */
async function loadAgain(done) {
  try {
    await load();
    say(done);
  } catch (error) {
    say(`${done} It could not be loaded again: ${error.message}`);
  }
}

function correct(...edits) {
  return change("POST", "/revisions", { edits });
}

let editor = null; // the field in which somebody writes, and the segment as it was then

/** Open a segment's text to be corrected; what is being written in another one is saved first, or stays open. */
async function edit(id) {
  if (!mayChange || !sliceOf[id]) return;
  if (editor?.id === id) return editor.field.focus();
  const wanted = segments[id];
  if (isWriting() && !(await keep())) return;
  const now = whereIs(wanted); // a correction may have moved it
  if (now >= 0) open(now);
}

function isWriting() {
  return editor !== null && editor.field.value !== editor.segment.text;
}

/** The number of a segment by now, -1 where it is gone: a correction of its text leaves its times. */
function whereIs({ start, end, text }) {
  const there = segments.filter((one) => one.start === start && one.end === end);
  return (there.find((one) => one.text === text) ?? there[0])?.id ?? -1;
}

function open(id, text = segments[id].text) {
  const row = draw(id);
  if (!row) return;
  close();
  const field = make("textarea", { value: text, rows: Math.max(2, Math.ceil(text.length / 60)), dir: "auto", spellcheck: true });
  field.setAttribute("aria-label", `Text at ${clock(segments[id].start)}`);
  const save = make("button", { type: "button", textContent: "Save" });
  const leave = make("button", { type: "button", textContent: "Cancel" });
  const box = make("span", { className: "editor", lang: "en" }, field, save, " ", leave);
  row.querySelector(".said").hidden = true;
  row.append(box);
  editor = { id, field, box, segment: segments[id] };
  field.addEventListener("keydown", editKey);
  save.addEventListener("click", () => keep());
  leave.addEventListener("click", leaveEditor);
  field.focus();
}

function close(own = editor) {
  const said = own?.box.parentElement?.querySelector(".said");
  if (said) said.hidden = false;
  own?.box.remove();
  if (own === editor) editor = null;
}

/** Go on with what somebody was writing before the rows were drawn again; it stands by itself where its segment is gone. */
function reopen(own) {
  const id = whereIs(own.segment);
  const { value } = own.field;
  close(own);
  if (id >= 0 && !editor) return open(id, value);
  if (value === own.segment.text) return;
  const drop = make("button", { type: "button", textContent: "Discard", className: "quiet" });
  const text = make("q", { textContent: value, dir: "auto" });
  const left = make("p", { className: "gap left", lang: "en" }, "Not saved, because its segment is gone: ", text, " ", drop);
  drop.addEventListener("click", () => left.remove());
  place.before(left);
  left.scrollIntoView({ block: "center" });
}

function leaveEditor() {
  if (!editor) return;
  const { id } = editor;
  close();
  rows[id]?.querySelector("[data-edit]")?.focus();
}

/** Save what is written, with a split at `offset` where one is wanted; then goes on to the segment after it if wanted. True if it is saved. */
async function keep({ offset = 0, goesOn = false } = {}) {
  const own = editor;
  if (!own) return false;
  const { id, field } = own;
  if (field.disabled) {
    say("An earlier correction is still being saved.");
    return false;
  }
  const text = field.value.split(/\s+/).filter(Boolean).join(" ");
  const edits = [{ kind: "text", segment: id, text }];
  if (offset) edits.push({ kind: "split", segment: id, offset });
  field.disabled = true;
  const isSaved = await correct(...edits);
  field.disabled = false;
  if (!isSaved) {
    if (editor === own) field.focus();
    return false;
  }
  close(own);
  try {
    await showSaved(id, offset);
    say("Saved. The files are written again.");
  } catch (error) {
    say(`Saved, but it could not be loaded again: ${error.message}`);
  }
  if (editor) return true; // somebody writes elsewhere by now
  if (goesOn) edit(id + 1);
  else rows[id]?.querySelector("[data-edit]")?.focus();
  return true;
}

/** Show a segment as it was saved; all of them where others changed, too. */
async function showSaved(id, offset) {
  const found = await piece(id, 1);
  if (found.revision !== revision || offset) return load();
  know(found);
  segments[id] = found.segments[0];
  const before = draw(id);
  before.replaceWith((rows[id] = rowOf(segments[id])));
  mark();
  collect();
  showPeople();
  await showHistory();
}

addEventListener("beforeunload", (event) => {
  if (isWriting()) event.preventDefault();
});

function editKey(event) {
  event.stopPropagation();
  const keys = { Enter: () => keep({ offset: event.ctrlKey ? splitPlace(event.target) : 0 }), Escape: leaveEditor, Tab: () => keep({ goesOn: true }) };
  if (!(event.key in keys) || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  keys[event.key]();
}

/** Where the cursor stands in the text as it is saved: blanks in a row are one. */
function splitPlace(field) {
  return [...field.value.slice(0, field.selectionStart).replace(/\s+/g, " ").trimStart()].length; // as the server counts
}

async function undo() {
  if (!mayChange || $("undo").disabled) return;
  if (await change("POST", "/revisions/undo")) {
    await loadAgain("The last correction was undone.");
  }
}

// Speakers

function passage(first, scope) {
  let last = first;
  const same = (id) => segments[id] && segments[id].speaker === segments[first].speaker && segments[id].kind === segments[first].kind;
  if (scope === "one") return [{ first, last }];
  for (; same(last + 1); last++);
  const found = [{ first, last }];
  if (scope === "turn") return found;
  for (let id = last + 1; id < segments.length; id++) {
    if (!same(id)) continue;
    const run = { first: id, last: id };
    for (; same(run.last + 1); run.last++);
    found.push(run);
    id = run.last;
  }
  return found;
}

function chooseWho(first) {
  const choices = [...speakers.values()].map((one) => [String(one.number), one.called]);
  choices.push([String(next), "Somebody new"], ["", "Unknown speaker"]);
  $("who-speaker").replaceChildren(...choices.map(([value, textContent]) => make("option", { value, textContent })));
  $("who-speaker").value = segments[first].speaker === null ? "" : String(segments[first].speaker);
  $("who").returnValue = "";
  $("who").dataset.first = first;
  $("who").showModal();
}

async function saveWho() {
  if ($("who").returnValue !== "save") return;
  const chosen = $("who-speaker").value;
  const scope = document.querySelector("input[name=scope]:checked").value;
  const speaker = chosen === "" ? null : Number(chosen);
  const edits = passage(Number($("who").dataset.first), scope).map((one) => ({ kind: "speaker", ...one, speaker }));
  const MOST = 200; // edits in one revision
  if (edits.length > MOST) return say(`These are ${edits.length} turns, and ${MOST} can be changed at once: merge the speakers instead.`);
  if (await correct(...edits)) {
    await loadAgain("Saved. The files are written again.");
  }
}

async function sayOf(names, merges) {
  if (await change("PUT", "/speakers", { names, merges })) {
    await loadAgain("Saved. The files are written again.");
  }
}

function showPeople() {
  $("people").replaceChildren(...[...speakers.values()].map(person));
  document.getElementById("people-title").hidden = !speakers.size;
}

function person(one) {
  const item = make("li", { className: `c${one.number % COLOURS}` });
  const facts = [`speaks ${clock(one.seconds)}`];
  if (one.recognized !== null) facts.push(`recognized by the voice (${one.recognized.toFixed(2)})`);
  for (const other of one.maybe_same) facts.push(`maybe the same as ${called(other)}`);
  if (!mayChange) {
    item.append(make("b", { textContent: one.called, dir: "auto" }), ` ${facts.join(", ")}`);
    return item;
  }
  const usual = `Speaker ${one.number + 1}`;
  const name = make("input", { value: one.name, placeholder: usual, maxLength: 100, autocomplete: "off", dir: "auto" });
  name.setAttribute("aria-label", `Name of ${usual}`);
  name.addEventListener("change", () => sayOf({ [one.number]: name.value.trim() }, {}));
  item.append(name, ` ${facts.join(", ")}`);
  if (mayEnroll && one.name) {
    const enroll = make("button", { type: "button", textContent: "Enroll the voice", className: "quiet" });
    enroll.setAttribute("aria-label", `Enroll the voice of ${one.name}`);
    enroll.addEventListener("click", () => enrollVoice(one, enroll));
    item.append(" ", enroll);
  }
  const others = [...speakers.values()].filter((other) => other.number !== one.number);
  if (others.length) {
    const into = make("select", {}, make("option", { value: "", textContent: "is a separate person" }));
    into.append(...others.map((other) => make("option", { value: other.number, textContent: `is ${other.called}` })));
    into.setAttribute("aria-label", `Who ${one.called} is in truth`);
    into.addEventListener("change", () => into.value !== "" && sayOf({}, { [one.number]: into.value }));
    item.append(" ", into);
  }
  return item;
}

/** Keep the voice of a speaker under their name, so that it is recognized in other recordings; takes a while. */
async function enrollVoice(one, button) {
  button.disabled = true;
  say(`The voice of ${one.name} is being enrolled.`);
  try {
    await ask("PUT", `/voices/${encodeURIComponent(one.name)}`, { job, speaker: String(one.number) });
    say(`The voice of ${one.name} is enrolled.`);
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
}

// Who corrected what

const sentences = {
  text: (one) => `${clock(one.at)}: “${one.before}” became “${one.text}”`,
  speaker: (one) => `${clock(one.at)}: ${called(one.speaker)} speaks`,
  split: (one) => `${clock(one.at)}: a segment was split`,
};

function lines(one) {
  if (one.back_to === -1) return ["another transcript replaced the corrected one"];
  if (one.back_to !== null) return [`went back to revision ${one.back_to}`];
  if (one.edits.length) return one.edits.map((edit) => sentences[edit.kind](edit));
  const names = Object.entries(one.speakers?.names ?? {}).map(([number, name]) => `Speaker ${Number(number) + 1} is called ${name || "nothing"}`);
  const merged = Object.entries(one.speakers?.merged ?? {}).map(([number, into]) => `Speaker ${Number(number) + 1} is Speaker ${into + 1}`);
  return [...names, ...merged].length ? [...names, ...merged] : ["names of speakers were removed"];
}

async function showHistory() {
  const found = await ask("GET", `/recordings/${job}/revisions`);
  $("revisions").replaceChildren(...found.revisions.map(entry).reverse());
  $("untouched").hidden = found.revisions.length > 0;
  if (mayChange) $("undo").disabled = !found.revisions.length;
}

function entry(one) {
  const when = new Date(one.at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const item = make("li", { value: one.number }, make("b", { textContent: one.who || "somebody", dir: "auto" }), `, ${when}`);
  if (mayChange && one.number !== revision) {
    const back = make("button", { type: "button", textContent: "Go back to this", className: "quiet" });
    back.setAttribute("aria-label", `Go back to revision ${one.number}`);
    back.dataset.back = one.number;
    item.append(" ", back);
  }
  item.append(make("ul", {}, ...lines(one).map((text) => make("li", { textContent: text, dir: "auto" }))));
  return item;
}

async function goBack(number) {
  if (await change("POST", "/revisions/restore", { back_to: number })) {
    await loadAgain(`The transcript is as revision ${number} made it.`);
  }
}

// What people do

place.addEventListener("click", (event) => {
  const { edit: segment, who } = event.target.dataset;
  if (segment !== undefined) return edit(Number(segment));
  if (who !== undefined) return chooseWho(Number(who));
  const row = event.target.closest(".row");
  if (!row || event.target.closest("a, .editor") || !getSelection().isCollapsed) return;
  goTo(momentOf(event, Number(row.dataset.id)));
});
place.addEventListener("dblclick", (event) => {
  const row = event.target.closest(".row");
  if (row && event.target.closest(".said")) edit(Number(row.dataset.id));
});
$("who").addEventListener("close", saveWho);
$("revisions").addEventListener("click", (event) => {
  if (event.target.dataset.back !== undefined) goBack(Number(event.target.dataset.back));
});
$("undo")?.addEventListener("click", undo);
$("keys").addEventListener("click", () => $("help").showModal());

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
  ["e", () => edit(Math.max(0, current[0] ?? lastStarted(moment())))],
  ["u", undo],
  ["?", () => $("help").showModal()],
]);

addEventListener("keydown", (event) => {
  const act = keys.get(event.key);
  const own = event.target.closest("input, textarea, select, button, summary, a, audio, video");
  if (!act || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (own?.matches("input:not([type=checkbox]), textarea, select")) return; // somebody writes
  if (own && (event.key === " " || event.key.startsWith("Arrow"))) return; // these work it
  event.preventDefault();
  act();
});

try {
  await load();
} catch (error) {
  $("loading").textContent = error.message;
}

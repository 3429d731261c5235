// Pages that stay as things are: whatever is marked `data-live` is exchanged for what the server shows now.

import { localise, say } from "./page.js";

const EVERY = 5000; // milliseconds between two looks where events do not report all changes
const PAUSE = 1500; // milliseconds at least between two looks
const KINDS = document.querySelector("meta[name=events]").content.split(" ");

function fetchPage() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // it alone makes a document of an answer without making markup of text
    request.responseType = "document";
    request.open("GET", location.href);
    request.setRequestHeader("Accept", "text/html");
    request.onload = () => {
      if (new URL(request.responseURL).pathname !== location.pathname) location.reload(); // to say anew who asks
      else if (request.status === 200 && request.response) resolve(request.response);
      else reject(new Error());
    };
    request.onerror = () => reject(new Error());
    request.send();
  });
}

/** Take over what differs, part by part, and keep what is selected and what has the focus. */
function exchange(old, fresh) {
  const known = new Map([...old.children].map((child) => [child.id, child]));
  const there = [...old.children];
  const wanted = [...fresh.children].map((child, i) => {
    const before = child.id ? known.get(child.id) : there[i]?.id ? undefined : there[i];
    return before && before.outerHTML === child.outerHTML ? before : takenOver(before, document.importNode(child, true));
  });
  wanted.forEach((child, i) => {
    if (old.children[i] !== child) old.insertBefore(child, old.children[i] ?? null);
  });
  while (old.children.length > wanted.length) old.lastElementChild.remove();
}

function takenOver(before, child) {
  if (!before) return child;
  for (const box of child.querySelectorAll("input[type=checkbox]")) {
    box.checked = [...before.querySelectorAll("input[type=checkbox]")].some((old) => old.checked && old.value === box.value);
  }
  if (before.contains(document.activeElement)) {
    const place = [...before.querySelectorAll("a, button, input")].indexOf(document.activeElement);
    queueMicrotask(() => child.querySelectorAll("a, button, input")[place]?.focus());
  }
  before.replaceWith(child);
  return child;
}

let last = 0; // when it looked last
let timer = 0; // of the next look
let isLooking = false;
let wantsMore = false; // something happened during a look, which may have missed it
let isAway = false;

/** Show how things are now; soon, where that was done only just before. */
export function refresh() {
  if (isLooking) wantsMore = true;
  else if (!timer && !document.hidden) timer = setTimeout(look, Math.max(0, last + PAUSE - Date.now()));
}

async function look() {
  timer = 0;
  isLooking = true;
  wantsMore = false;
  try {
    const fresh = await fetchPage();
    localise(fresh);
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(part.id);
      if (now) exchange(part, now);
    }
    document.dispatchEvent(new Event("exchanged"));
    if (isAway) say("");
    isAway = false;
  } catch {
    isAway = true;
    say("The server does not answer just now. The page goes on by itself.");
  }
  last = Date.now();
  isLooking = false;
  if (wantsMore) refresh();
}

// Events report what happens. A page that nobody sees holds no connection, of which browsers have few for a server.

let events = null;

function listen() {
  events?.close();
  events = null;
  if (document.hidden || !globalThis.EventSource) return;
  events = new EventSource("/api/v1/events");
  for (const kind of KINDS) events.addEventListener(kind, refresh);
  events.addEventListener("open", refresh); // something may have happened before
  events.addEventListener("error", refresh); // to say so where the server does not answer
}

document.addEventListener("visibilitychange", () => {
  listen();
  refresh();
});
setInterval(() => {
  if (events?.readyState === EventSource.CLOSED) listen(); // a browser gives up where the server refuses
  const isTold = events?.readyState === EventSource.OPEN;
  if (isAway || !isTold || document.querySelector("[data-live] progress, [data-moving]")) refresh();
}, EVERY);
listen();

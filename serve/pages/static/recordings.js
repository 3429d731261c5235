// The page of all recordings: files that are sent, and what is done with many at once.

import { ask, problem, say } from "./page.js";
import { refresh } from "./live.js";

const $ = (id) => document.getElementById(id);

// Uploads, one after the other

const queue = [];
let sending = null;

function add(files) {
  if (!$("into")) return;
  for (const file of files) queue.push({ file, folder: $("into").value, row: rowOf(file) });
  next();
}

function rowOf(file) {
  const row = document.createElement("li");
  const name = Object.assign(document.createElement("span"), { textContent: file.name, dir: "auto" });
  const bar = Object.assign(document.createElement("progress"), { max: file.size || 1, value: 0 });
  bar.setAttribute("aria-label", `Sent of ${file.name}`);
  const stop = Object.assign(document.createElement("button"), { type: "button", textContent: "Stop" });
  stop.setAttribute("aria-label", `Stop sending ${file.name}`);
  const state = Object.assign(document.createElement("span"), { className: "state", textContent: "waits" });
  row.append(name, " ", bar, " ", state, " ", stop);
  stop.addEventListener("click", () => abandon(row));
  $("uploads").append(row);
  return row;
}

function abandon(row) {
  const place = queue.findIndex((one) => one.row === row);
  if (place >= 0) queue.splice(place, 1);
  if (sending?.row === row) sending.request.abort();
  else end(row, "stopped");
}

function next() {
  if (sending || !queue.length) return;
  const { file, folder, row } = queue.shift();
  const limit = Number($("drop").dataset.limit);
  if (file.size > limit) {
    end(row, `it is larger than ${limit.toLocaleString()} bytes, which the setting serve_upload_gb allows`, true);
    next();
    return;
  }
  const request = new XMLHttpRequest(); // fetch tells no progress of what is sent
  sending = { row, request };
  request.open("POST", `/api/v1/recordings?${new URLSearchParams({ folder, name: file.name })}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = (event) => progress(row, event.loaded, event.total);
  request.onload = () => {
    if (request.status === 201) end(row, "sent");
    else end(row, problem(request, request.responseText), true);
  };
  request.onerror = () => end(row, "the server does not answer, or refused the file", true);
  request.onabort = () => end(row, "stopped");
  request.onloadend = () => {
    sending = null;
    refresh();
    next();
  };
  request.send(file);
}

function progress(row, loaded, total) {
  row.querySelector("progress").value = loaded;
  row.querySelector(".state").textContent = loaded < total ? `${Math.floor((100 * loaded) / total)} %` : "is placed";
}

function end(row, words, isWrong = false) {
  const name = row.firstElementChild.textContent;
  row.querySelector("progress")?.remove();
  row.querySelector("button")?.remove();
  row.querySelector(".state").textContent = words;
  row.classList.toggle("wrong", isWrong);
  say(`${name}: ${words}`);
}

function holdsFiles(event) {
  return $("into") && event.dataTransfer?.types.includes("Files");
}

addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  $("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
$("files")?.addEventListener("change", () => {
  add($("files").files);
  $("files").value = "";
});
addEventListener("beforeunload", (event) => {
  if (sending) event.preventDefault();
});

// What is done with those that are selected

// Each says, of one recording, what was done with it.
const acts = {
  retry: (job) => ask("POST", `/recordings/${job}/retry`).then(() => "tried again"),
  cancel: (job) => ask("POST", `/recordings/${job}/cancel`).then(() => "cancelled"),
  rerun: (job) => ask("POST", `/recordings/${job}/rerun`).then(({ fate }) => fate),
  priority: (job) =>
    ask("PUT", `/recordings/${job}/priority`, { priority: $("priority").value }).then(() => "given the priority"),
};

function boxes() {
  return [...document.querySelectorAll("#jobs input[name=job]")];
}

function selected() {
  return boxes().filter((box) => box.checked);
}

function count() {
  const number = selected().length;
  $("selected").textContent = `${number} selected`;
  for (const button of document.querySelectorAll("[data-act]")) button.disabled = !number;
  $("all").checked = number > 0 && number === boxes().length;
  $("all").indeterminate = number > 0 && number < boxes().length;
}

async function act(name) {
  const failed = [];
  const done = new Map(); // how many, by what was done with them
  const chosen = selected().map((box) => ({ job: box.value, called: box.closest("tr").querySelector("a").textContent }));
  for (const { job, called } of chosen) {
    try {
      const what = await acts[name](job);
      done.set(what, (done.get(what) ?? 0) + 1);
    } catch (error) {
      failed.push(`${called}: ${error.message}`);
    }
  }
  say([...Array.from(done, ([what, number]) => `${number} ${what}`), ...failed].join(". "));
  refresh();
}

$("all").addEventListener("change", () => {
  for (const box of boxes()) box.checked = $("all").checked;
  count();
});
$("jobs").addEventListener("change", count);
document.addEventListener("exchanged", count);
for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", () => act(button.dataset.act));
count();

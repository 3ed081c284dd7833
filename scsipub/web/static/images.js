// Uploads that go on where they were, and bars for what the daemon makes of them.
// Asks the API in the name of who has signed in; what it says goes into textContent, never into markup.
"use strict";

const API = "/api/v1";
const PIECE = 64 * 1024 * 1024;
const AGAIN_MS = [1000, 2000, 4000, 8000, 15000, 30000];
const POLL_MS = 700;

const $ = (id) => document.getElementById(id);
const arriving = $("arriving-section");
const key = arriving.dataset.key;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const done = new Set([...$("jobs").children].filter((row) => row.dataset.state === "done").map((row) => row.dataset.id));

class Refused extends Error {}

// One request.  Resolves to {status, body, offset}; rejects when there was no answer.
function ask(method, path, body, { headers = {}, onprogress } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, API + path);
    request.setRequestHeader("X-Form-Key", key);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (onprogress) request.upload.onprogress = (event) => onprogress(event.loaded);
    request.onload = () => {
      let said = null;
      try {
        said = JSON.parse(request.responseText);
      } catch {
        said = null; // an answer without a body
      }
      resolve({ status: request.status, body: said, offset: Number(request.getResponseHeader("Upload-Offset")) });
    };
    request.onerror = () => reject(new Error("no connection"));
    request.onabort = request.onerror;
    request.send(body);
  });
}

async function must(method, path, body, how) {
  const answer = await ask(method, path, body && JSON.stringify(body), { headers: { "Content-Type": "application/json" }, ...how });
  if (answer.status === 401) throw new Refused("You are signed out: load the page again.");
  if (answer.status >= 400) throw new Refused(answer.body?.detail || `The daemon said ${answer.status}.`);
  return answer.body;
}

// -- bars -------------------------------------------------------------------------------------------------

const size = (bytes) => {
  let unit = 0;
  while (bytes >= 1024 && unit < 4) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 100 ? bytes.toFixed(1) : Math.round(bytes)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][unit]}`;
};

function rowOf(id, name) {
  let row = [...$("jobs").children].find((each) => each.dataset.id === id);
  if (!row) {
    row = $("job").content.firstElementChild.cloneNode(true);
    row.dataset.id = id;
    row.querySelector("[name=id]").value = id;
    row.querySelector("[data-cell=name]").textContent = name;
    row.querySelector("progress").setAttribute("aria-label", name);
    row.querySelector("[data-cell=stop] span").textContent = ` ${name}`;
    $("jobs").prepend(row);
  }
  arriving.hidden = false;
  return row;
}

function show(row, got, total, words) {
  const bar = row.querySelector("progress");
  if (total) {
    bar.max = total;
    bar.value = got;
  } else {
    bar.removeAttribute("value"); // under way, and nobody knows how far
  }
  const cell = row.querySelector("[data-cell=words]");
  if (cell.textContent !== words) cell.textContent = words;
}

function showImport(job) {
  const row = rowOf(job.id, job.name);
  row.dataset.kind = row.querySelector("[name=kind]").value = "import";
  row.dataset.state = job.state;
  if (job.state === "done") show(row, 1, 1, `done: ${size(job.bytes_out)}`);
  else if (job.state === "failed") show(row, 0, 1, job.error || "failed");
  else show(row, job.bytes_in, job.bytes_total, `${job.doing || job.state}${job.bytes_total ? `, ${size(job.bytes_in)} of ${size(job.bytes_total)}` : ""}`);
  const over = job.state === "done" || job.state === "failed";
  row.querySelector("[data-cell=stop]").firstChild.textContent = over ? "Forget" : "Stop";
  return over;
}

async function watch() {
  for (;;) {
    let busy = false;
    try {
      for (const job of (await must("GET", "/imports")).items) {
        const over = showImport(job);
        busy ||= !over;
        if (job.state === "done" && !done.has(job.id)) {
          done.add(job.id);
          $("said").textContent = `${job.name} is there.`;
          await listAgain();
        }
      }
    } catch (error) {
      if (error instanceof Refused) return;
      busy = true;
    }
    if (!busy && !uploading) return;
    await sleep(POLL_MS);
  }
}

// The table as the server writes it now.
async function listAgain() {
  const fresh = new DOMParser().parseFromString(await (await fetch("/admin/images")).text(), "text/html");
  const [old, now] = [document, fresh].map((where) => where.querySelector("h1 + .card"));
  if (old && now) old.replaceWith(document.adoptNode(now));
}

// -- uploads ----------------------------------------------------------------------------------------------

let uploading = 0;
const markOf = (file) => `upload ${file.name} ${file.size} ${file.lastModified}`;

// The upload of this very file that was begun before, or a new one.
async function begin(file) {
  const known = localStorage.getItem(markOf(file));
  if (known) {
    const answer = await ask("GET", `/images/uploads/${encodeURIComponent(known)}`);
    if (answer.status === 200) return answer.body;
    localStorage.removeItem(markOf(file));
  }
  const order = { size: file.size, file_name: file.name };
  if ($("upload-name").value) order.name = $("upload-name").value;
  if ($("upload-sha").value) order.sha256 = $("upload-sha").value;
  const made = await must("POST", "/images/uploads", order);
  localStorage.setItem(markOf(file), made.id);
  return made;
}

async function send(file, upload) {
  const path = `/images/uploads/${encodeURIComponent(upload.id)}`;
  const row = rowOf(upload.id, upload.name);
  let offset = upload.offset;
  let tries = 0;
  while (offset < file.size) {
    const words = (sent) => `uploading, ${size(offset + sent)} of ${size(file.size)}`;
    show(row, offset, file.size, words(0));
    try {
      const answer = await ask("PATCH", path, file.slice(offset, offset + PIECE), {
        headers: { "Upload-Offset": String(offset), "Content-Type": "application/octet-stream" },
        onprogress: (sent) => show(row, offset + sent, file.size, words(sent)),
      });
      if (answer.status === 204 || (answer.status === 409 && answer.offset)) {
        tries = answer.offset > offset ? 0 : tries + 1;
        offset = answer.offset;
        if (!tries) continue;
      } else if (answer.status < 500 && answer.status !== 408 && answer.status !== 409) {
        throw new Refused(answer.body?.detail || `The daemon said ${answer.status}.`);
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    const wait = AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)];
    tries += 1;
    show(row, offset, file.size, `the line broke; goes on in ${wait / 1000} s`);
    await sleep(wait);
    try {
      const there = await ask("GET", path);
      if (there.status === 404) throw new Refused("The upload is not there any more.");
      if (there.status === 200) offset = there.body.offset;
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
  }
  await must("POST", `${path}/finish`);
}

$("upload-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const file = $("file").files[0];
  const wrong = $("upload-wrong");
  wrong.hidden = true;
  uploading += 1;
  try {
    const upload = await begin(file);
    await send(file, upload);
    localStorage.removeItem(markOf(file));
    $("upload-form").reset();
  } catch (error) {
    wrong.textContent = error instanceof Refused ? error.message : "There is no connection to the daemon. Try again.";
    wrong.hidden = false;
  } finally {
    uploading -= 1;
  }
  await watch();
});

watch();

// The live page: numbers once a second over a WebSocket, two plots, and rows that are filled in place.
// Everything that came over the wire goes into textContent, never into markup.
"use strict";

const HISTORY = 120;
const AGAIN_MS = [1000, 2000, 5000, 10000];
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

const $ = (id) => document.getElementById(id);
const curve = [];
let tries = 0;
let redrawn = 0;

// -- words ------------------------------------------------------------------------------------------------

function scaled(value, units, base, digits = 1) {
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const words = value >= 100 || value === 0 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(digits);
  return `${words} ${units[unit]}`;
}

const rate = (bytes) => scaled(bytes, ["B/s", "KiB/s", "MiB/s", "GiB/s"], 1024);
const time = (us) => (us ? scaled(us, ["µs", "ms", "s"], 1000) : "–");
const count = (n) => (n >= 10000 ? scaled(n, ["", "k", "M"], 1000) : String(Math.round(n * 10) / 10));

function ago(since) {
  let seconds = Math.max(0, Math.round((Date.now() - Date.parse(since)) / 1000));
  for (const [unit, length, below, part] of [["days", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
    if (seconds >= length) {
      const whole = Math.floor(seconds / length);
      const rest = Math.floor((seconds % length) / part);
      const name = unit === "days" && whole === 1 ? "day" : unit;
      return `${whole} ${name}${rest && whole < 10 ? ` ${rest} ${below}` : ""} ago`;
    }
  }
  return `${seconds} s ago`;
}

// -- plots ------------------------------------------------------------------------------------------------

function ceiling(most) {
  const power = 10 ** Math.floor(Math.log10(most || 1));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= most) || 1;
}

function plot(canvas, series, words, base) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const most = Math.max(base, ...series.flat());
  const top = base >= 1024 ? 1024 ** Math.floor(Math.log(most) / Math.log(1024)) * ceiling(most / 1024 ** Math.floor(Math.log(most) / Math.log(1024))) : ceiling(most);
  const [left, upper, lower] = [2, 18, height - 18];
  const y = (value) => lower - (value / top) * (lower - upper);
  const x = (index, length) => width - 2 - (length - 1 - index) * ((width - 4) / (HISTORY - 1));

  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  pen.fillStyle = colour("--soft");
  pen.strokeStyle = colour("--line");
  pen.lineWidth = 1;
  for (const part of [0, 0.5, 1]) {
    pen.beginPath();
    pen.moveTo(left, Math.round(y(top * part)) + 0.5);
    pen.lineTo(width - 2, Math.round(y(top * part)) + 0.5);
    pen.stroke();
  }
  pen.fillText(words(top), left, 12);
  pen.fillText("2 min ago", left, height - 4);
  pen.textAlign = "right";
  pen.fillText("now", width - 2, height - 4);
  pen.textAlign = "left";

  series.forEach((values, which) => {
    if (!values.length) return;
    pen.strokeStyle = colour(which ? "--plot-b" : "--plot-a");
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.setLineDash(which ? [5, 3] : []);
    pen.beginPath();
    values.forEach((value, index) => {
      const place = [x(index, values.length), y(value)];
      if (index) pen.lineTo(...place);
      else pen.moveTo(...place);
    });
    pen.stroke();
    if (!which && values.length > 1) {
      pen.lineTo(x(values.length - 1, values.length), lower);
      pen.lineTo(x(0, values.length), lower);
      pen.globalAlpha = 0.12;
      pen.fillStyle = colour("--plot-a");
      pen.fill();
      pen.globalAlpha = 1;
    }
  });
  pen.setLineDash([]);
}

function draw() {
  // Who asked for less motion gets a still picture, made anew every ten seconds.
  const now = performance.now();
  if (still.matches && redrawn && now - redrawn < 10000) return;
  redrawn = now;
  const column = (n) => curve.map((point) => point[n]);
  plot($("plot-bytes"), [column(0), column(1)], rate, 1024);
  plot($("plot-times"), [column(3), column(4)], time, 100);
}

// -- what a message changes -------------------------------------------------------------------------------

function setText(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function tiles(shown) {
  const [read, written, operations, typical, slow] = shown.now;
  setText($("n-sessions"), String(shown.sessions));
  setText($("n-read"), rate(read));
  setText($("n-written"), rate(written));
  setText($("n-operations"), `${count(operations)}/s`);
  setText($("n-typical"), time(typical));
  setText($("n-slow"), time(slow));
}

function workers(list) {
  const body = $("worker-rows");
  while (body.rows.length > list.length) body.deleteRow(-1);
  list.forEach((worker, index) => {
    const row = body.rows[index] || body.append(body.rows[0].cloneNode(true)) || body.rows[index];
    const state = row.cells[1].firstElementChild;
    setText(row.cells[0], String(worker.index));
    setText(state, worker.state);
    state.className = `state state-${worker.state}`;
    [worker.sessions, rate(worker.read), rate(worker.written), `${count(worker.operations)}/s`, worker.restarts]
      .forEach((value, at) => setText(row.cells[at + 2], String(value)));
  });
}

function rows(shown) {
  const body = $("session-rows");
  const known = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  const hasFocus = body.contains(document.activeElement);
  const wanted = shown.rows.map((session) => {
    let row = known.get(session.id);
    if (!row) {
      row = $("session-row").content.firstElementChild.cloneNode(true);
      row.dataset.id = session.id;
      row.querySelector("[name=id]").value = session.id;
      row.querySelector("button").setAttribute("aria-label", `End the session of ${session.initiator}`);
    }
    known.delete(session.id);
    const cell = (name) => row.querySelector(`[data-cell=${name}]`);
    setText(cell("initiator"), session.initiator);
    setText(cell("target"), session.target || "discovery");
    cell("tls").hidden = !session.tls;
    setText(cell("source"), session.source);
    setText(cell("since"), ago(session.since));
    setText(cell("read"), rate(session.read));
    setText(cell("written"), rate(session.written));
    setText(cell("iops"), count(session.iops));
    return row;
  });
  known.forEach((row) => row.remove());
  // Rows do not jump away under a finger or a key.
  if (hasFocus || body.matches(":hover")) wanted.filter((row) => !row.parentNode).forEach((row) => body.append(row));
  else if (wanted.some((row, index) => body.rows[index] !== row)) body.append(...wanted);
  $("session-table").hidden = !wanted.length;
  $("no-sessions").hidden = wanted.length > 0;
  const more = shown.sessions > wanted.length ? ` ${wanted.length} of ${shown.sessions} are shown.` : "";
  setText($("rows-words"), wanted.length ? `The busiest first.${more}` : "");
}

// -- the line to the server -------------------------------------------------------------------------------

function feed(words, state) {
  setText($("feed-words"), words);
  $("feed").dataset.state = state;
}

function listen() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.addEventListener("message", (event) => {
    const shown = JSON.parse(event.data);
    tries = 0;
    if (shown.away) {
      feed("the daemon does not answer just now", "away");
      return;
    }
    if (shown.curve) curve.splice(0, curve.length, ...shown.curve);
    else curve.push(shown.now);
    while (curve.length > HISTORY) curve.shift();
    feed("live", "live");
    tiles(shown);
    workers(shown.workers);
    rows(shown);
    draw();
  });
  socket.addEventListener("close", (event) => {
    if (event.code === 4403) {
      feed("you are signed out: load the page again", "away");
      return;
    }
    feed(event.code === 1013 ? "many look already; trying again" : "no connection; trying again", "away");
    setTimeout(listen, AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)]);
    tries += 1;
  });
}

function redraw() {
  redrawn = 0;
  draw();
}

addEventListener("resize", redraw);
dark.addEventListener("change", redraw);
draw();
listen();

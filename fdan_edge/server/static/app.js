// The page: a source of sound, a connection to the server, and what is shown of both.

import { rendered } from "./card.js";
import { Connection } from "./connection.js";
import { file, microphone } from "./sources.js";
import { View } from "./view.js";

const KEPT = 20_000; // segments
const WAITS = [1, 2, 4, 8, 15]; // s between attempts to connect again
const NO_USE = [1003, 1007, 1008, 1009]; // the server would say the same again

const at = (id) => document.getElementById(id);
const view = new View();

let about = null; // what the server told of its model
let source = null; // where sound comes from, while listening
let connection = null;
let segments = [];
let began = 0; // ms; times on the page are since then
let base = 0; // s on the page when this connection's sound began
let lost = 0; // s
let gone = 0; // s on the page when the connection went; 0: it is there
let attempts = 0;
let busy = false; // a source is being opened
let timer = 0;

// --- token and card ---

// The token comes in the address's fragment, which no server and no other page gets to see.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}

const token = () => sessionStorage.getItem("token") ?? "";

async function load() {
  const answer = await fetch("card", { headers: token() ? { Authorization: `Bearer ${token()}` } : {} });
  at("token-form").hidden = answer.status !== 401;
  if (answer.status === 401) {
    view.trouble(token() ? "The token is wrong." : "");
    return;
  }
  if (!answer.ok) throw new Error(await answer.text());
  about = await answer.json();
  view.about(about);
  view.trouble("");
  at("card").replaceChildren(rendered(about.text));
  at("listen").disabled = at("file").disabled = false;
}

// --- listening ---

async function start(open) {
  if (busy || source) return;
  busy = true;
  view.trouble("");
  view.state("waiting", "opening");
  try {
    source = await open((block) => connection?.send(block), (text) => finish(text));
  } catch (error) {
    view.trouble(error.message);
    view.state("idle", "not listening");
    return;
  } finally {
    busy = false;
  }
  segments = [];
  lost = gone = attempts = 0;
  began = performance.now();
  view.clear();
  view.quiet("…");
  at("listen").textContent = "Stop";
  if (document.activeElement === at("file")) at("listen").focus();
  at("file").disabled = true;
  connect();
}

function connect() {
  clearTimeout(timer);
  connection?.socket.close(); // one that is still being tried, or has its last to tell
  view.state("waiting", "connecting");
  const mine = new Connection(source.rate, token(), {
    ready: () => mine === connection && source && ready(),
    event: (event) => mine === connection && show(event),
    closed: (code, reason) => mine === connection && closed(code, reason),
  });
  connection = mine;
}

// s on the page at which the server's time is 0: it knows nothing of sound that was dropped here.
const offset = () => base + connection.dropped / connection.rate;
const now = () => (performance.now() - began) / 1000;

function ready() {
  attempts = 0;
  base = now();
  if (gone) {
    lost += base - gone;
    view.timeline.add("", gone, base);
    gone = 0;
  }
  view.trouble("");
  view.quiet("silence");
  view.state("live", `listening: ${source.name}`);
}

function closed(code, reason) {
  lost += connection.dropped / connection.rate;
  connection = null;
  gone ||= now();
  view.quiet("–");
  if (!source) {
    view.state("idle", "not listening");
    return;
  }
  if (NO_USE.includes(code)) {
    finish(`The server ended the connection: ${reason || code}.`);
    return;
  }
  const wait = WAITS[Math.min(attempts++, WAITS.length - 1)];
  view.state("gone", "not connected");
  const why = reason ? `The server says: ${reason}.` : "The server does not answer.";
  view.trouble(`${why} Connecting again in ${wait} s.`, true);
  timer = setTimeout(connect, wait * 1000);
}

// The sound ends, by a person or by itself; what the server still has to tell is shown.
function finish(text = "") {
  clearTimeout(timer);
  source?.stop();
  source = null;
  if (connection) connection.stop();
  view.trouble(text);
  view.state("idle", "not listening");
  if (!connection) view.quiet("–");
  at("listen").textContent = "Start listening";
  at("file").disabled = false;
}

// An entry for each type of streaming/events.py; a test looks for one that is missing.
const SHOW = {
  speech: (event) => {
    view.quiet("…");
    view.spoken(offset() + event.time);
  },
  result: (event) => view.result(event, offset()),
  segment: (event) => showSegment(event),
  silence: () => view.quiet("silence"),
  lost: (event) => showLost(event),
  warning: (event) => view.warning(event, offset() + event.time),
  ended: () => {}, // the close that follows is shown
};

// A type without an entry is of a newer server: it is skipped.
function show(event) {
  SHOW[event.type]?.(event);
}

function showLost(event) {
  lost += event.seconds;
  view.timeline.add("", offset() + event.time, offset() + event.time + event.seconds);
}

function showSegment(event) {
  const segment = { ...event, start: offset() + event.start, end: offset() + event.end };
  segments.push(segment);
  if (segments.length > KEPT) segments.shift();
  view.segment(segment);
}

// --- what a person does ---

function save() {
  const names = about.labels;
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = segments.map((s) => [s.start.toFixed(3), s.end.toFixed(3), quoted(s.label), s.confidence.toFixed(4),
    ...names.map((name) => (s.probabilities[name] ?? 0).toFixed(4))]);
  const table = [["start", "end", "label", "confidence", ...names.map(quoted)], ...rows];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([table.map((row) => `${row.join(",")}\n`).join("")], { type: "text/csv" }));
  link.download = "segments.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

at("listen").onclick = () => (source ? finish() : start(microphone));
at("file").onclick = () => at("picked").click();
at("picked").onchange = () => {
  const [picked] = at("picked").files;
  if (picked) start((onblock, onend) => file(picked, about.rate, onblock, onend));
  at("picked").value = ""; // the same file can be picked again
};
at("again").onclick = () => connect();
at("save").onclick = save;
at("token-form").onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", at("token").value.trim());
  begin();
};

setInterval(() => {
  if (source) view.time(now(), lost + (gone ? now() - gone : 0) + (connection?.dropped ?? 0) / source.rate);
}, 250);

function begin() {
  takeToken();
  load().catch((error) => view.trouble(`The server does not answer: ${error.message}`));
}

addEventListener("hashchange", begin); // the address with the token, where the page is open already
begin();

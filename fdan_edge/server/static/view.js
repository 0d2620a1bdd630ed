// What a person sees of it all; app.js says what there is to show.

import { Labels } from "./labels.js";
import { clock, Timeline } from "./timeline.js";

const ROWS = 100; // of segments that the page shows; all are saved
const RECENT = 240; // results that medians are taken of

const WARNED = 10; // s that a warning stays at least; then the next speech takes it away

// What is wrong with the sound, and what to do about it; as in streaming/events.py.
const WARNINGS = {
  "too quiet": (value) => `The sound is too quiet: its peak is at ${value.toFixed(0)} dBFS. Raise the microphone's level.`,
  "clipped": (value) =>
    `The sound is clipped: ${(100 * value).toFixed(1)} % of the samples are at full scale. Lower the microphone's level.`,
  "only DC": (value) => `A constant offset of ${value.toPrecision(3)} and no sound: is the microphone broken?`,
  "no signal": () => "No signal, every sample is 0: is the microphone muted?",
  "integers": (value) => `Samples far beyond -1..1: taken for whole numbers with a full scale of ${value}.`,
};

const at = (id) => document.getElementById(id);
const percent = (p) => `${Math.round(p * 100)} %`;
const ms = (seconds) => `${Math.round(seconds * 1000)} ms`;

export class View {
  constructor() {
    this.timeline = new Timeline(at("timeline"));
    this.latencies = [];
    this.roundTrips = [];
    this.shown = "";
    this.warned = 0; // s on the page
    new ResizeObserver(() => this.timeline.draw(this.labels)).observe(at("timeline"));
  }

  // The model is known: its name, a bar for each label.
  about(about) {
    at("model").textContent = `${about.model}, ${about.runtime}, every ${Math.round(about.hop * 1000)} ms`;
    if (this.labels) return;
    this.labels = new Labels(about.labels, at("patterns"));
    this.bars = new Map(about.labels.map((label) => [label, bar(label, this.labels)]));
    at("bars").replaceChildren(...[...this.bars.values()].map(({ item }) => item));
    this.timeline.draw(this.labels);
  }

  state(kind, text) {
    at("state").dataset.kind = kind;
    at("state").textContent = text;
  }

  trouble(text, again = false) {
    at("trouble").hidden = !text;
    at("again").hidden = !again;
    at("trouble-text").textContent = text;
  }

  warning({ problem, value }, time) {
    at("warning").textContent = WARNINGS[problem]?.(value) ?? problem;
    at("warning").hidden = false;
    this.warned = time;
  }

  spoken(time) {
    if (time >= this.warned + WARNED) at("warning").hidden = true;
  }

  result(event, base) {
    this.now(event);
    this.probabilities(event.probabilities);
    const last = this.timeline.runs.at(-1);
    const from = this.speaking && last && last.end > base + event.start ? last.end : base + event.start;
    this.speaking = true;
    this.timeline.add(event.label, from, base + event.time);
    this.measured(event);
  }

  probabilities(values) {
    for (const [label, { meter, fill, number }] of this.bars) {
      const p = values[label] ?? 0;
      fill.style.transform = `scaleX(${p})`;
      number.textContent = percent(p);
      meter.setAttribute("aria-valuenow", Math.round(p * 100));
    }
  }

  now({ label, confidence, probabilities }) {
    if (label !== this.shown) {
      at("swatch").replaceChildren(this.labels.swatch(label));
      at("label").textContent = label;
      at("said").textContent = `${label}, ${percent(confidence)}`; // the only thing that is read aloud by itself
      this.shown = label;
    }
    const likeliest = Object.keys(probabilities).reduce((a, b) => (probabilities[a] >= probabilities[b] ? a : b));
    const what = label === "unknown" ? `likeliest: ${likeliest},` : "confidence";
    at("confidence").textContent = `${what} ${percent(confidence)}`;
  }

  // Nothing is told now: silence is not an emotion, so no probabilities stay.
  quiet(text) {
    this.speaking = false;
    if (this.bars) this.probabilities({});
    this.shown = "";
    at("swatch").replaceChildren();
    at("label").textContent = text;
    at("confidence").textContent = "\u00a0";
  }

  measured(event) {
    show(at("latency"), this.latencies, event.latency);
    show(at("round-trip"), this.roundTrips, event.roundTrip);
  }

  time(heard, lost) {
    at("heard").textContent = clock(heard);
    at("lost").textContent = `${lost.toFixed(lost && lost < 10 ? 1 : 0)} s`;
    at("lost").classList.toggle("bad", lost > 0);
    this.timeline.now = Math.max(this.timeline.now, heard);
    this.timeline.draw(this.labels);
  }

  segment({ start, end, label, confidence }) {
    const name = document.createElement("td");
    name.append(this.labels.swatch(label), label);
    const row = document.createElement("tr");
    row.append(cell(start.toFixed(2)), cell(end.toFixed(2)), name, cell(percent(confidence)));
    at("segments").prepend(row);
    if (at("segments").rows.length > ROWS) at("segments").deleteRow(-1);
    at("none").hidden = true;
    at("save").disabled = false;
    this.timeline.settle(label, start, end);
  }

  clear() {
    this.timeline.clear();
    this.latencies = [];
    this.roundTrips = [];
    for (const id of ["latency", "round-trip"]) at(id).textContent = "–";
    at("segments").replaceChildren();
    at("none").hidden = false;
    at("save").disabled = true;
    at("warning").hidden = true;
    this.time(0, 0);
  }
}

function bar(label, labels) {
  const item = document.createElement("li");
  const name = document.createElement("span");
  name.append(labels.swatch(label), label);
  const fill = document.createElement("span");
  fill.className = "fill";
  const meter = document.createElement("span");
  meter.className = "meter";
  for (const [key, value] of Object.entries({
    role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0,
  })) meter.setAttribute(key, value);
  meter.append(fill);
  const number = document.createElement("span");
  number.className = "number";
  number.setAttribute("aria-hidden", "true"); // the meter says it
  number.textContent = percent(0);
  item.append(name, meter, number);
  return { item, meter, fill, number };
}

function cell(text) {
  const made = document.createElement("td");
  made.textContent = text;
  return made;
}

function show(place, values, value) {
  if (value == null) return;
  values.push(value);
  if (values.length > RECENT) values.shift();
  const median = [...values].sort((a, b) => a - b)[values.length >> 1];
  place.textContent = `${ms(value)}, median ${Math.round(median * 1000)}`;
}

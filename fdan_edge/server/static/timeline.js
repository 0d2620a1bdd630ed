// The last 60 seconds: a stretch of one label is one block, with its colour, its pattern and its name below.

import { svg } from "./labels.js";

const SPAN = 60; // s
const BAND = [6, 40]; // px: top and height of the blocks
const LETTER = 7; // px, about
const GAP = 6; // px between names

export class Timeline {
  constructor(picture) {
    this.picture = picture;
    this.runs = []; // {start, end, label}; a label of "" is sound that was not heard
    this.now = 0;
  }

  clear() {
    this.runs = [];
    this.now = 0;
  }

  // The label from `start` on, or from where the last one ended.
  add(label, start, end) {
    const last = this.runs.at(-1);
    if (last && last.label === label && start <= last.end + 0.01) last.end = Math.max(last.end, end);
    else this.runs.push({ label, start: Math.max(start, last ? last.end : 0), end });
    while (this.runs.length && this.runs[0].end < this.now - SPAN) this.runs.shift();
    this.now = Math.max(this.now, end);
  }

  // A stretch's label is known for good when it ends; what was shown till then may have been another.
  settle(label, start, end) {
    this.runs = this.runs.flatMap((run) => {
      if (run.end <= start || run.start >= end) return [run];
      return [{ ...run, end: start }, { ...run, start: end }].filter((part) => part.end - part.start > 1e-3);
    });
    this.runs.push({ label, start, end });
    this.runs.sort((a, b) => a.start - b.start);
  }

  draw(labels) {
    const width = this.picture.clientWidth;
    if (!width || !labels) return;
    const first = Math.max(0, this.now - SPAN);
    const x = (time) => (time - first) / SPAN * width;
    const runs = this.runs.filter((run) => run.end > first);
    this.picture.setAttribute("viewBox", `0 0 ${width} 84`);
    this.picture.replaceChildren(...ticks(first, x, width), ...runs.map((run) => block(run, x, labels)),
      ...names(runs, x, width));
  }
}

function block(run, x, labels) {
  const left = Math.max(0, x(run.start));
  const width = Math.max(1, x(run.end) - left);
  const look = run.label ? { class: "run", fill: labels.fill(run.label) } : { class: "lost" };
  return svg("rect", { x: left, y: BAND[0], width, height: BAND[1], ...look },
    svg("title", {}, `${run.label || "lost"}, ${run.start.toFixed(1)} to ${run.end.toFixed(1)} s`));
}

// Below their blocks, the newest first; one without room is left out.
function names(runs, x, width) {
  const made = [];
  let free = width;
  for (const run of [...runs].reverse()) {
    const name = run.label || "lost";
    const half = name.length * LETTER / 2;
    const middle = Math.max(half, Math.min((Math.max(0, x(run.start)) + x(run.end)) / 2, width - half));
    if (middle + half > free) continue;
    made.push(svg("text", { x: middle, y: 62, class: "name" }, name));
    free = middle - half - GAP;
  }
  return made;
}

function ticks(first, x, width) {
  const made = [svg("line", { x1: 0, x2: width, y1: BAND[0] + BAND[1], y2: BAND[0] + BAND[1], class: "axis" })];
  for (let time = Math.ceil(first / 10) * 10; time <= first + SPAN; time += 10) {
    const anchor = x(time) < 12 ? "start" : x(time) > width - 16 ? "end" : "middle";
    made.push(svg("line", { x1: x(time), x2: x(time), y1: BAND[0], y2: BAND[0] + BAND[1], class: "tick" }));
    made.push(svg("text", { x: x(time), y: 80, "text-anchor": anchor, class: "time" }, clock(time)));
  }
  return made;
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// Each label has a colour of Okabe and Ito's palette, which most colour-blind people can tell apart, and a pattern.

const COLOURS = ["#d55e00", "#f0e442", "#0072b2", "#cc79a7", "#009e73", "#e69f00", "#56b4e9"];
const PATTERNS = ["plain", "falling", "dots", "rising", "bars"]; // 5 and 7: 35 pairs
const ORDER = ["angry", "happy", "sad", "fear", "disgust", "surprise", "neutral", "calm", "boredom", "contempt"];
const SIZE = 8; // px of a pattern
const SVG = "http://www.w3.org/2000/svg";

const MARKS = {
  plain: [],
  falling: [["path", { d: "M-2,-2 L10,10 M-2,6 L2,10 M6,-2 L10,2" }]],
  rising: [["path", { d: "M-2,10 L10,-2 M-2,2 L2,-2 M6,10 L10,6" }]],
  dots: [["circle", { cx: 4, cy: 4, r: 1.6, fill: "#000a", stroke: "none" }]],
  bars: [["path", { d: "M0,4 L8,4" }]],
  grid: [["path", { d: "M0,4 L8,4 M4,0 L4,8" }]],
};

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export class Labels {
  // defs: an SVG <defs> that takes the patterns.
  constructor(names, defs) {
    this.ids = new Map();
    const others = names.filter((name) => !ORDER.includes(name));
    const order = [...ORDER, ...others];
    for (const name of names) {
      const place = order.indexOf(name);
      this.add(defs, name, COLOURS[place % COLOURS.length], PATTERNS[place % PATTERNS.length]);
    }
    this.add(defs, "unknown", "#9a9a9a", "grid");
  }

  add(defs, name, colour, pattern) {
    const id = `label-${this.ids.size}`;
    const marks = MARKS[pattern].map(([kind, values]) =>
      svg(kind, { stroke: "#0008", "stroke-width": 1.4, fill: "none", ...values }));
    defs.append(svg("pattern", { id, width: SIZE, height: SIZE, patternUnits: "userSpaceOnUse" },
      svg("rect", { width: SIZE, height: SIZE, fill: colour }), ...marks));
    this.ids.set(name, id);
  }

  fill(name) {
    return `url(#${this.ids.get(name) ?? this.ids.get("unknown")})`;
  }

  swatch(name) {
    return svg("svg", { class: "swatch", viewBox: "0 0 16 16", "aria-hidden": "true" },
      svg("rect", { x: 0.5, y: 0.5, width: 15, height: 15, rx: 3, fill: this.fill(name) }));
  }
}

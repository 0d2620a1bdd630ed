// A model's card: the little Markdown that cards are written in, as elements. Text stays text.

export function rendered(markdown) {
  const root = document.createDocumentFragment();
  const lines = markdown.split(/\r?\n/);
  for (let i = 0; i < lines.length;) i = KINDS.find(([fits]) => fits(lines[i]))[1](lines, i, root);
  return root;
}

const KINDS = [
  [(line) => !line.trim(), (_, i) => i + 1],
  [(line) => line.startsWith("```"), code],
  [(line) => /^#{1,6} /.test(line), heading],
  [(line) => line.startsWith("|"), table],
  [(line) => /^[-*] /.test(line), list],
  [() => true, paragraph],
];

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

// Names of others are escaped in a card; here they become text again, which is no HTML either.
function inline(text) {
  return text.split(/(?<!\\)`/).map((part, i) => (i % 2 ? element("code", part) : plain(part)));
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };

function plain(text) {
  return text.replaceAll("**", "").replace(/\\([!-/:-@[-`{-~])|&(?:lt|gt|amp);/g, (all, mark) => mark ?? ENTITIES[all]);
}

function code(lines, i, root) {
  let end = i + 1;
  while (end < lines.length && !lines[end].startsWith("```")) end++;
  root.append(element("pre", element("code", lines.slice(i + 1, end).join("\n"))));
  return end + 1;
}

// The page has a heading of its own above, so the card's begin at the third level.
function heading(lines, i, root) {
  const [, marks, text] = lines[i].match(/^(#+) (.*)/);
  root.append(element(`h${Math.min(6, marks.length + 2)}`, ...inline(text)));
  return i + 1;
}

function table(lines, i, root) {
  const cells = (line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim().replaceAll("\\|", "|"));
  let end = i;
  while (end < lines.length && lines[end].startsWith("|")) end++;
  const [head, , ...rows] = lines.slice(i, end).map(cells);
  const row = (values, name) => element("tr", ...values.map((value) => element(name, ...inline(value))));
  const parts = [element("tbody", ...rows.map((values) => row(values, "td")))];
  if (head.some(Boolean)) parts.unshift(element("thead", row(head, "th")));
  const wide = element("div", element("table", ...parts));
  wide.className = "wide";
  wide.tabIndex = 0; // it scrolls sideways on a phone, by keyboard too
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", "table of the card");
  root.append(wide);
  return end;
}

function list(lines, i, root) {
  const items = [];
  while (i < lines.length && /^([-*] |\s+\S)/.test(lines[i])) {
    if (/^[-*] /.test(lines[i])) items.push(lines[i].slice(2));
    else items[items.length - 1] += ` ${lines[i].trim()}`;
    i++;
  }
  root.append(element("ul", ...items.map((item) => element("li", ...inline(item)))));
  return i;
}

function paragraph(lines, i, root) {
  const words = [];
  for (; i < lines.length && lines[i].trim() && !/^(#|\||```|[-*] )/.test(lines[i]) || !words.length; i++) words.push(lines[i]);
  root.append(element("p", ...inline(words.join(" "))));
  return i;
}

// The map: move, zoom, point at tiles, select a box. Without this file there is a table.

import { ask } from "./ask.js";
import { Plot } from "./plot.js";

const area = document.querySelector("[data-map]");
const form = document.querySelector("[data-form]");
const canvas = area?.querySelector("canvas");
const said = area?.querySelector("[data-said]");
const card = area?.querySelector("[data-card]");
const NEAR = 14; // CSS pixels from a point that still mean it
const STEP = 1.4;
const tiles = new Map();
let tag = "";
let waiting = 0;

async function load() {
  const column = form.elements.column.value;
  const [points, codes] = await Promise.all([
    ask("v1/map/points"), ask(`v1/map/colours?column=${encodeURIComponent(column)}`),
  ]);
  tag = points.headers.get("etag");
  if (tag !== codes.headers.get("etag")) throw new Error("The map has changed; load the page again.");
  const bytes = await Promise.all([points.arrayBuffer(), codes.arrayBuffer()]);
  area.hidden = false;
  const isScale = !area.querySelector(".legend");
  return new Plot(canvas, new Float32Array(bytes[0]), new Uint8Array(bytes[1]), isScale);
}

// What is chosen is in the address: the server writes the page of it, and going back works.
function go(plot, box) {
  const fields = new URLSearchParams(new FormData(form));
  fields.set("view", [plot.x, plot.y, plot.zoom / plot.whole].map((one) => one.toPrecision(6)));
  if (box) fields.set("box", box.map((edge) => edge.toPrecision(6)));
  location.assign(`map?${fields}${box ? "#selected" : ""}`);
}

function restore(plot) {
  const given = new URLSearchParams(location.search);
  const numbers = (name) => given.get(name)?.split(",").map(Number);
  const view = numbers("view");
  if (view?.every(Number.isFinite)) plot.move(view[0], view[1], view[2] * plot.whole);
  plot.box = numbers("box") ?? null;
}

function write(tile) {
  const facts = card.querySelector("dl");
  facts.replaceChildren();
  for (const [name, value] of Object.entries(tile.columns)) {
    if (value === null) continue;
    const row = document.createElement("div");
    for (const [kind, text] of [["dt", name], ["dd", value]])
      row.append(Object.assign(document.createElement(kind), { textContent: text }));
    facts.append(row);
  }
  const image = card.querySelector("img");
  const words = ["tile", tile.columns.label, tile.columns.group].filter(Boolean).join(", ");
  image.src = `v1/tiles/${tile.id}/image?size=160`;
  image.alt = words;
  card.querySelector("a").href = `search?id=${tile.id}`;
  card.hidden = false;
  said.textContent = `${words}. Click it to search from it.`;
}

async function read(number) {
  if (!tiles.has(number)) {
    const answer = await ask(`v1/map/points/${number}`, { headers: { "If-Match": tag } });
    tiles.set(number, await answer.json());
  }
  return tiles.get(number);
}

function mark(plot, number) {
  if (number === plot.marked) return;
  plot.marked = number;
  plot.draw();
  clearTimeout(waiting);
  if (number < 0) return;
  waiting = setTimeout(async () => {
    try {
      const tile = await read(number);
      if (plot.marked === number) write(tile);
    } catch (error) {
      said.textContent = error.message;
    }
  }, 60);
}

const search = async (number) => location.assign(`search?id=${(await read(number)).id}`);

// One pointer moves or draws a box, two zoom.
class Hand {
  constructor(plot) {
    this.plot = plot;
    this.down = new Map();
    this.isDrawing = false;
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"])
      canvas.addEventListener(name, (event) => this[name](event));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      plot.zoomAt(Math.exp(-event.deltaY / 400), ...this.place(event));
    }, { passive: false });
  }

  place(event) {
    const edge = canvas.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  }

  pointerdown(event) {
    canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, this.place(event));
    this.start = this.place(event);
    this.isBox = this.isDrawing || event.shiftKey;
    this.hasMoved = false;
  }

  pointermove(event) {
    const { plot } = this;
    const [left, top] = this.place(event);
    const before = this.down.get(event.pointerId);
    if (!before) {
      mark(plot, plot.nearest(left, top, NEAR));
      return;
    }
    this.hasMoved ||= Math.hypot(left - this.start[0], top - this.start[1]) > 4;
    const others = [...this.down].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    this.down.set(event.pointerId, [left, top]);
    if (others.length) {
      const gap = ([x, y]) => Math.hypot(x - others[0][0], y - others[0][1]) || 1;
      plot.zoomAt(gap([left, top]) / gap(before), ...others[0]);
    } else if (this.isBox) {
      const [one, two] = [plot.toMap(...this.start), plot.toMap(left, top)];
      const [x, y] = [0, 1].map((axis) => [one[axis], two[axis]].sort((a, b) => a - b));
      plot.box = [x[0], y[0], x[1], y[1]];
      plot.draw();
    } else if (this.hasMoved) {
      plot.move(plot.x - (left - before[0]) / plot.zoom, plot.y + (top - before[1]) / plot.zoom, plot.zoom);
    }
  }

  pointerup(event) {
    if (!this.down.delete(event.pointerId) || this.down.size) return;
    const { plot } = this;
    if (this.isBox && this.hasMoved) {
      go(plot, plot.box);
    } else if (!this.hasMoved) {
      const number = plot.nearest(...this.place(event), NEAR);
      if (number >= 0 && event.pointerType === "mouse") search(number);
      else mark(plot, number);
    }
  }

  pointercancel(event) {
    this.down.delete(event.pointerId);
  }
}

function listenToKeys(plot) {
  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const shift = (x, y) => {
    const [left, bottom, right, top] = plot.view;
    plot.move(plot.x + (x * (right - left)) / 10, plot.y + (y * (top - bottom)) / 10, plot.zoom);
  };
  const actions = {
    ArrowLeft: () => shift(-1, 0), ArrowRight: () => shift(1, 0),
    ArrowUp: () => shift(0, 1), ArrowDown: () => shift(0, -1),
    "+": () => plot.zoomAt(STEP, ...middle()), "=": () => plot.zoomAt(STEP, ...middle()),
    "-": () => plot.zoomAt(1 / STEP, ...middle()), 0: () => plot.fit(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && plot.marked >= 0) search(plot.marked);
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
    mark(plot, plot.nearest(...middle(), Infinity));
  });
  return { in: actions["+"], out: actions["-"], fit: actions[0] };
}

function listenToButtons(plot, hand, actions) {
  actions.box = (button) => {
    hand.isDrawing = !hand.isDrawing;
    button.setAttribute("aria-pressed", String(hand.isDrawing));
  };
  actions.view = () => go(plot, plot.view);
  area.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.do) actions[button.dataset.do](button);
    if (!button.dataset.code) return;
    const code = Number(button.dataset.code);
    plot.only = plot.only === code ? null : code;
    for (const one of area.querySelectorAll("[data-code]"))
      one.setAttribute("aria-pressed", String(Number(one.dataset.code) === plot.only));
    plot.draw();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(plot);
  });
}

if (area) {
  document.querySelector("[data-areas]").open = false;
  try {
    const plot = await load();
    restore(plot);
    listenToButtons(plot, new Hand(plot), listenToKeys(plot));
    new ResizeObserver(() => plot.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.readColours());
    area.dataset.ready = "true";
  } catch (error) {
    const warning = Object.assign(document.createElement("p"), { className: "warning" });
    warning.textContent = error.message;
    area.before(warning);
  }
}

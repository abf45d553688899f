// The page of a slide: its tiles, the heatmap over it, and what can be done with a tile.

import { ask } from "./ask.js";
import { SlideView } from "./slide_view.js";

const GRID = "#283cc8";
const REJECTED = "#c75300";
const FEWEST_PX = 5; // smaller tiles get no outline
const area = document.querySelector("[data-slide]");
const part = (name) => area.querySelector(`[data-${name}]`);
const slideId = area.dataset.slide;
const query = area.dataset.query;

const read = async (address) => (await ask(address)).json();

// Where tiles overlap each is drawn around its middle, so that no colour is drawn twice.
function drawnSide(places, side) {
  const sorted = [...new Set(places)].sort((one, other) => one - other);
  const steps = sorted.slice(1).map((place, number) => place - sorted[number]);
  return Math.min(side, ...steps.filter((step) => step > 1));
}

function colourOf(colours, share) {
  const at = Math.min(1, Math.max(0, share)) * (colours.length - 1);
  const low = Math.floor(at);
  const channels = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));
  const [one, other] = [channels(colours[low]), channels(colours[Math.min(low + 1, colours.length - 1)])];
  return `rgb(${one.map((value, number) => Math.round(value + (at - low) * (other[number] - value))).join(" ")})`;
}

class Page {
  constructor(facts, { tiles, rejected }, heat) {
    this.side = facts.tile_size;
    this.mpp = facts.mpp[0];
    this.tiles = heat ? heat.tiles : tiles;
    this.rejected = rejected.map((place) => ["", ...place]);
    this.drawn = [0, 1].map((axis) => drawnSide(this.tiles.map((tile) => tile[1 + axis]), this.side[axis]));
    if (heat) {
      const [low, high] = heat.limits;
      this.colours = this.tiles.map((tile) => colourOf(heat.colours, (tile[3] - low) / Math.max(high - low, 1e-12)));
    }
    this.meaning = heat?.meaning;
    this.opacity = 0.55;
    this.shown = { grid: true, rejected: true };
    this.view = new SlideView(part("canvas"), facts, `v1/slides/${slideId}/regions`, {
      layers: [this.paintHeat, this.paintGrid, this.paintMarks].map((layer) => layer.bind(this)),
      onPick: (x, y) => this.pick(x, y),
      onMove: () => this.remember(),
      onProblem: (detail) => (part("said").textContent = detail),
    });
    this.listen();
    this.recall();
  }

  // The tiles that are seen, as boxes in device pixels: number, left, top, width, height.
  *boxes(tiles, view, [width, height]) {
    const [left, top, right, bottom] = view.seen;
    const [dx, dy] = [(this.side[0] - width) / 2, (this.side[1] - height) / 2];
    for (let number = 0; number < tiles.length; number += 1) {
      const [, x, y] = tiles[number];
      if (x > right || y > bottom || x + this.side[0] < left || y + this.side[1] < top) continue;
      const [x0, y0] = view.pixel(x + dx, y + dy);
      const [x1, y1] = view.pixel(x + dx + width, y + dy + height);
      yield [number, x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0)];
    }
  }

  paintHeat(pen, view) {
    if (!this.colours || !this.opacity) return;
    const boxes = [...this.boxes(this.tiles, view, this.drawn)];
    // Colours of the stain below would change those of the map.
    const covered = new Path2D();
    for (const [, ...box] of boxes) covered.rect(...box);
    pen.globalCompositeOperation = "saturation";
    pen.fillStyle = "#808080";
    pen.fill(covered);
    pen.globalCompositeOperation = "source-over";
    pen.globalAlpha = this.opacity;
    for (const [number, ...box] of boxes) {
      pen.fillStyle = this.colours[number];
      pen.fillRect(...box);
    }
    pen.globalAlpha = 1;
  }

  paintGrid(pen, view) {
    if (view.zoom * this.side[0] < FEWEST_PX) return;
    pen.lineWidth = Math.max(1, Math.round(view.ratio));
    const outline = (tiles, colour, hasCross) => {
      const path = new Path2D();
      for (const [, left, top, width, height] of this.boxes(tiles, view, this.side)) {
        path.rect(left + 0.5, top + 0.5, width, height);
        if (!hasCross) continue;
        path.moveTo(left, top);
        path.lineTo(left + width, top + height);
      }
      pen.strokeStyle = colour;
      pen.stroke(path);
    };
    if (this.shown.grid) outline(this.tiles, GRID, false);
    if (this.shown.rejected) outline(this.rejected, REJECTED, true);
  }

  paintMarks(pen, view) {
    if (this.chosen !== undefined) {
      const chosen = [this.tiles[this.chosen]];
      for (const [, ...box] of this.boxes(chosen, view, this.side)) {
        for (const [colour, width] of [["white", 6], ["#a3226f", 3]]) {
          pen.strokeStyle = colour;
          pen.lineWidth = width * view.ratio;
          pen.strokeRect(...box);
        }
      }
    }
    this.paintScale(pen, view);
    if (view.canvas.matches(":focus-visible")) this.paintCross(pen, view);
  }

  paintScale(pen, view) {
    const most = 140 * this.mpp / view.scale; // µm that fit
    const power = 10 ** Math.floor(Math.log10(most));
    const length = power * [5, 2, 1].find((step) => step * power <= most);
    const width = length / this.mpp * view.zoom;
    const [left, bottom] = [14 * view.ratio, view.canvas.height - 14 * view.ratio];
    pen.fillStyle = "rgb(255 255 255 / 0.85)";
    pen.fillRect(left - 6 * view.ratio, bottom - 26 * view.ratio, width + 12 * view.ratio, 34 * view.ratio);
    pen.fillStyle = "black";
    pen.fillRect(left, bottom - 3 * view.ratio, width, 3 * view.ratio);
    pen.font = `${13 * view.ratio}px system-ui, sans-serif`;
    const text = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
    pen.fillText(text, left, bottom - 9 * view.ratio);
  }

  paintCross(pen, view) {
    const [x, y] = [view.canvas.width / 2, view.canvas.height / 2];
    for (const [colour, width] of [["white", 4], ["black", 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width * view.ratio;
      pen.stroke(new Path2D(`M${x - 12} ${y}H${x + 12}M${x} ${y - 12}V${y + 12}`));
    }
  }

  // Choose the tile at a place; of several the one whose middle is nearest.
  pick(x, y) {
    let [best, least] = [undefined, Infinity];
    this.tiles.forEach(([, left, top], number) => {
      const [dx, dy] = [x - left, y - top];
      if (dx < 0 || dy < 0 || dx > this.side[0] || dy > this.side[1]) return;
      const away = Math.hypot(dx - this.side[0] / 2, dy - this.side[1] / 2);
      if (away < least) [best, least] = [number, away];
    });
    this.chosen = best;
    part("chosen").hidden = best === undefined;
    part("said").textContent = best === undefined ? "No tile of the index is there." : "";
    if (best !== undefined) this.describe(this.tiles[best]);
    this.view.draw();
  }

  describe([id, x, y, value]) {
    const measured = value === undefined ? "" : `: ${this.meaning} ${value.toFixed(3)}`;
    part("about").textContent = `Tile at ${x.toLocaleString("en")}, ${y.toLocaleString("en")}${measured}`;
    part("picture").src = `v1/tiles/${id}/image?size=320`;
    const first = new URLSearchParams(query).get("id");
    const own = `slide?slide=${slideId}`;
    const targets = {
      search: `search?id=${id}`,
      pair: first ? `pair?a=${first}&b=${id}` : `pair?a=${id}`,
      alone: `${own}&id=${id}`,
      like: `${own}&${query}&id=${id}`,
      unlike: `${own}&${query}&unlike=${id}`,
    };
    for (const link of part("chosen").querySelectorAll("[data-to]")) {
      const target = targets[link.dataset.to];
      link.href = target.startsWith("slide?") ? target + this.mark : target;
    }
  }

  // The part of the slide that is seen is kept in the address.
  get mark() {
    const { x, y, scale } = this.view;
    return `#at=${Math.round(x)},${Math.round(y)},${scale.toPrecision(4)}`;
  }

  remember() {
    if (!this.view) return; // it is being made
    clearTimeout(this.timer);
    this.timer = setTimeout(() => history.replaceState(null, "", this.mark), 250);
  }

  recall() {
    const found = location.hash.match(/^#at=(-?\d+),(-?\d+),([\d.e+-]+)$/);
    if (found) this.view.show(...found.slice(1).map(Number));
  }

  listen() {
    area.addEventListener("click", ({ target }) => {
      if (target.dataset.zoom) this.view.zoomBy(Number(target.dataset.zoom));
      else if ("fit" in target.dataset) this.view.fit();
    });
    area.addEventListener("input", ({ target }) => {
      if (target.dataset.layer) this.shown[target.dataset.layer] = target.checked;
      else if ("opacity" in target.dataset) this.opacity = target.value / 100;
      this.view.draw();
    });
  }
}

async function start() {
  const [facts, tiles, heat] = await Promise.all([
    read(`v1/slides/${slideId}`),
    read(`v1/slides/${slideId}/tiles`),
    query ? read(`v1/slides/${slideId}/heatmap?${query}`) : null,
  ]);
  for (const name of ["tools", "canvas", "help"]) part(name).hidden = false;
  part("if-rejected").hidden = !tiles.rejected.length;
  new Page(facts, tiles, heat);
}

start().catch((error) => (part("said").textContent = error.message));

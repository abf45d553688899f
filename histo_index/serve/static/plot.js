// Draws many points into the pixels of a canvas: no WebGL, no WebGPU, the same on every machine.

const OTHER = 254;
const NONE = 255;
const STOPS = 5;
const SCALE = 253;

// "#rrggbb" as the number that a little-endian pixel is.
function pixel(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function blend(one, two, share) {
  const mix = (at) => Math.round(((one >>> at) & 255) * (1 - share) + ((two >>> at) & 255) * share);
  return ((255 << 24) | (mix(16) << 16) | (mix(8) << 8) | mix(0)) >>> 0;
}

export class Plot {
  constructor(canvas, points, codes, isScale) {
    Object.assign(this, { canvas, points, codes, isScale });
    // In main memory, where the pixels are written.
    this.pen = canvas.getContext("2d", { willReadFrequently: true });
    this.only = null; // the category that stands out
    this.marked = -1; // the point with a ring
    this.box = null; // [left, bottom, right, top] in units of the map
    this.isDue = false;
    this.readColours();
    this.resize();
    this.fit();
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => pixel(style.getPropertyValue(name).trim());
    this.palette = new Uint32Array(256);
    if (this.isScale) {
      const stops = Array.from({ length: STOPS }, (_, at) => read(`--s${at}`));
      for (let code = 0; code <= SCALE; code++) {
        const at = (code / SCALE) * (STOPS - 1);
        const low = Math.min(Math.floor(at), STOPS - 2);
        this.palette[code] = blend(stops[low], stops[low + 1], at - low);
      }
    } else {
      for (let code = 0; code < 12; code++) this.palette[code] = read(`--m${code}`);
    }
    this.palette[OTHER] = read("--muted");
    this.palette[NONE] = read("--edge");
    this.faint = read("--grid");
    this.ink = style.getPropertyValue("--ink").trim();
    this.draw();
  }

  resize() {
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * this.ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * this.ratio));
    this.image = this.pen.createImageData(this.canvas.width, this.canvas.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.draw();
  }

  // Show all points, or a box of them.
  fit(box) {
    let [left, bottom, right, top] = box ?? [Infinity, Infinity, -Infinity, -Infinity];
    if (!box) {
      for (let at = 0; at < this.points.length; at += 2) {
        left = Math.min(left, this.points[at]);
        right = Math.max(right, this.points[at]);
        bottom = Math.min(bottom, this.points[at + 1]);
        top = Math.max(top, this.points[at + 1]);
      }
    }
    const { clientWidth, clientHeight } = this.canvas;
    const most = Math.min(clientWidth / (right - left || 1), clientHeight / (top - bottom || 1));
    this.move((left + right) / 2, (bottom + top) / 2, 0.94 * most);
    if (!box) this.whole = this.zoom;
  }

  // The middle of the view in units of the map, and the CSS pixels of a unit.
  move(x, y, zoom) {
    Object.assign(this, { x, y, zoom });
    this.draw();
  }

  // Zoom so that what is under a place of the canvas stays there.
  zoomAt(factor, left, top) {
    const zoom = Math.min(Math.max(this.zoom * factor, this.whole / 4), this.whole * 2000);
    const [x, y] = this.toMap(left, top);
    const shift = 1 - this.zoom / zoom;
    this.move(this.x + (x - this.x) * shift, this.y + (y - this.y) * shift, zoom);
  }

  toMap(left, top) {
    const { clientWidth, clientHeight } = this.canvas;
    return [this.x + (left - clientWidth / 2) / this.zoom, this.y - (top - clientHeight / 2) / this.zoom];
  }

  get view() {
    const { clientWidth, clientHeight } = this.canvas;
    const [left, top] = this.toMap(0, 0);
    const [right, bottom] = this.toMap(clientWidth, clientHeight);
    return [left, bottom, right, top];
  }

  // The nearest point within some CSS pixels of a place; -1 without one.
  nearest(left, top, within) {
    const [x, y] = this.toMap(left, top);
    let best = (within / this.zoom) ** 2;
    let found = -1;
    for (let at = 0; at < this.points.length; at += 2) {
      const gap = (this.points[at] - x) ** 2 + (this.points[at + 1] - y) ** 2;
      if (gap <= best && (this.only === null || this.codes[at / 2] === this.only)) {
        best = gap;
        found = at / 2;
      }
    }
    return found;
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.drawNow();
    });
  }

  // Radius in pixels: smaller for more points, larger when zoomed in.
  get radius() {
    const count = this.points.length / 2;
    const usual = count > 50000 ? 1 : count > 5000 ? 1.8 : 4;
    return Math.min(usual * Math.max(1, (this.zoom / this.whole) ** 0.5), 9) * this.ratio;
  }

  drawNow() {
    this.pixels.fill(0);
    if (this.only === null) {
      this.stamp(this.palette);
    } else {
      this.stamp(this.palette.map((colour, code) => (code === this.only ? 0 : this.faint)));
      this.stamp(this.palette.map((colour, code) => (code === this.only ? colour : 0)));
    }
    this.pen.putImageData(this.image, 0, 0);
    this.pen.strokeStyle = this.ink;
    this.pen.lineWidth = 1.5 * this.ratio;
    if (this.box) this.outline(this.box);
    if (this.marked >= 0) {
      const [left, top] = this.place(this.marked);
      this.pen.beginPath();
      this.pen.arc(left, top, this.radius + 3 * this.ratio, 0, 2 * Math.PI);
      this.pen.stroke();
    }
  }

  // A point in pixels of the canvas.
  place(number) {
    const scale = this.zoom * this.ratio;
    return [
      (this.points[2 * number] - this.x) * scale + this.canvas.width / 2,
      (this.y - this.points[2 * number + 1]) * scale + this.canvas.height / 2,
    ];
  }

  outline([left, bottom, right, top]) {
    const scale = this.zoom * this.ratio;
    const x = (left - this.x) * scale + this.canvas.width / 2;
    const y = (this.y - top) * scale + this.canvas.height / 2;
    this.pen.setLineDash([6 * this.ratio, 4 * this.ratio]);
    this.pen.strokeRect(x, y, (right - left) * scale, (top - bottom) * scale);
    this.pen.setLineDash([]);
  }

  // Write a disc of pixels for each point; a colour of 0 leaves points out.
  stamp(colours) {
    const { points, codes, pixels } = this;
    const { width, height } = this.canvas;
    const [disc, reach] = this.disc();
    const scale = this.zoom * this.ratio;
    const [shiftX, shiftY] = [width / 2 - this.x * scale, height / 2 + this.y * scale];
    const [mostX, mostY] = [width - 1 - reach, height - 1 - reach];
    for (let at = 0; at < codes.length; at++) {
      const colour = colours[codes[at]];
      if (!colour) continue;
      const left = Math.round(points[2 * at] * scale + shiftX);
      const top = Math.round(shiftY - points[2 * at + 1] * scale);
      // Discs that the edge would cut are left out: a little further they are drawn whole.
      if (left < reach || top < reach || left > mostX || top > mostY) continue;
      const middle = top * width + left;
      for (let n = 0; n < disc.length; n++) pixels[middle + disc[n]] = colour;
    }
  }

  // The pixels of a disc, relative to its middle, and how far they reach.
  disc() {
    const reach = Math.round(this.radius);
    const found = [];
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        if (x * x + y * y <= (reach + 0.35) ** 2) found.push(y * this.canvas.width + x);
      }
    }
    return [Int32Array.from(found), reach];
  }
}

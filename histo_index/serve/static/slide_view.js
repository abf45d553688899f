// Show a slide on a canvas. Drag, wheel, pinch and keys move it; the squares of its pyramid are
// fetched as they are needed. Places are level-0 pixels of the whole plane.

const KEPT = 160; // squares in memory, 1 MB each
const AT_ONCE = 6;
const CLOSEST = 16; // screen pixels per slide pixel
const CLICK_PX = 5;
const PAUSE_MS = 50;
const STEP = 0.2; // of the canvas, for an arrow key

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

// The squares that were fetched, and those on their way.
class Squares {
  constructor(address, onChange, onProblem) {
    Object.assign(this, { address, onChange, onProblem });
    this.kept = new Map();
    this.coming = new Map();
    this.failed = new Set();
  }

  get(key) {
    const image = this.kept.get(key);
    if (image) {
      this.kept.delete(key); // the last used is the last in the map
      this.kept.set(key, image);
    }
    return image;
  }

  // Fetch what is wanted, the first first, and stop fetching anything else.
  want(keys) {
    const wanted = new Set(keys);
    for (const [key, stop] of this.coming) if (!wanted.has(key)) stop.abort();
    for (const key of keys) {
      if (this.coming.size >= AT_ONCE) return;
      if (!this.kept.has(key) && !this.coming.has(key) && !this.failed.has(key)) this.fetch(key);
    }
  }

  async fetch(key) {
    const stop = new AbortController();
    this.coming.set(key, stop);
    try {
      const image = await this.read(key, stop.signal);
      this.kept.set(key, image);
      for (const [old, one] of this.kept) {
        if (this.kept.size <= KEPT) break;
        one.close();
        this.kept.delete(old);
      }
    } catch (error) {
      if (!stop.signal.aborted) {
        this.failed.add(key);
        this.onProblem(error.message);
      }
    } finally {
      this.coming.delete(key);
      this.onChange();
    }
  }

  async read(key, signal) {
    for (;;) {
      const answer = await fetch(`${this.address}/${key}`, { signal });
      if (answer.ok) return createImageBitmap(await answer.blob());
      if (answer.status !== 503) throw new Error((await answer.json()).detail);
      await wait(Number(answer.headers.get("Retry-After")) || 5);
      signal.throwIfAborted();
    }
  }
}

export class SlideView {
  // `layers` draw over the slide; `onPick` gets the place of a click, `onMove` nothing.
  constructor(canvas, facts, address, { layers, onPick, onMove, onProblem }) {
    Object.assign(this, { canvas, facts, layers, onPick, onMove });
    this.pen = canvas.getContext("2d", { alpha: false });
    this.squares = new Squares(address, () => this.draw(), onProblem);
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
    this.fit();
  }

  // Device pixels per slide pixel.
  get zoom() {
    return this.scale * this.ratio;
  }

  resize() {
    this.ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.ratio));
    this.draw();
  }

  get whole() {
    const [, , width, height] = this.facts.bounds;
    return 0.97 * Math.min(this.canvas.clientWidth / width, this.canvas.clientHeight / height);
  }

  fit() {
    const [x, y, width, height] = this.facts.bounds;
    this.show(x + width / 2, y + height / 2, this.whole);
  }

  // Put a place into the middle, at so many CSS pixels per slide pixel.
  show(x, y, scale) {
    const [left, top, width, height] = this.facts.bounds;
    const between = (value, low, high) => Math.min(high, Math.max(low, value));
    this.x = between(x, left, left + width);
    this.y = between(y, top, top + height);
    this.scale = between(scale, Math.min(this.whole / 2, CLOSEST), CLOSEST);
    this.onMove?.();
    this.draw();
  }

  // The place below a point of the canvas, in CSS pixels.
  place(left, top) {
    const { clientWidth, clientHeight } = this.canvas;
    return [
      this.x + (left - clientWidth / 2) / this.scale,
      this.y + (top - clientHeight / 2) / this.scale,
    ];
  }

  // Zoom so that a point of the canvas stays over its place.
  zoomAt(factor, left, top) {
    const [x, y] = this.place(left, top);
    const before = this.scale;
    this.show(this.x, this.y, before * factor);
    const kept = before / this.scale;
    this.show(x + (this.x - x) * kept, y + (this.y - y) * kept, this.scale);
  }

  zoomBy(factor) {
    this.zoomAt(factor, this.canvas.clientWidth / 2, this.canvas.clientHeight / 2);
  }

  move(across, down) {
    this.show(this.x - across / this.scale, this.y - down / this.scale, this.scale);
  }

  // The device pixel of a place.
  pixel(x, y) {
    return [
      Math.round((x - this.x) * this.zoom + this.canvas.width / 2),
      Math.round((y - this.y) * this.zoom + this.canvas.height / 2),
    ];
  }

  // The part of the plane that is seen: left, top, right, bottom.
  get seen() {
    const { clientWidth, clientHeight } = this.canvas;
    return [...this.place(0, 0), ...this.place(clientWidth, clientHeight)];
  }

  draw() {
    if (this.isDue || this.scale === undefined) return;
    this.isDue = true;
    this.canvas.setAttribute("aria-busy", "true");
    requestAnimationFrame(() => {
      this.isDue = false;
      this.paint();
    });
  }

  paint() {
    const { pen, canvas, facts } = this;
    pen.fillStyle = getComputedStyle(canvas).backgroundColor;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const last = facts.levels.length - 1;
    // The coarsest that is shown without visible blur.
    let best = last;
    while (best > 0 && facts.levels[best].downsample * this.zoom > 1.3) best -= 1;
    const missing = [];
    for (let level = last; level >= best; level -= 1) {
      for (const [key, ...box] of this.squaresOf(level)) {
        const image = this.squares.get(key);
        if (image) this.paintSquare(image, box);
        else if (level === best || level === last) missing.push(key);
      }
    }
    this.fetchSoon(missing);
    for (const layer of this.layers) layer(pen, this);
    canvas.setAttribute("aria-busy", String(missing.some((key) => !this.squares.failed.has(key))));
  }

  // Squares that are seen for a moment only are not fetched.
  fetchSoon(missing) {
    const isWaiting = this.missing !== undefined;
    this.missing = missing;
    if (isWaiting) return;
    setTimeout(() => {
      this.squares.want(this.missing);
      this.missing = undefined;
    }, PAUSE_MS);
  }

  // The squares of a level that are seen, those in the middle first: key, column, row, downsample.
  squaresOf(level) {
    const { downsample, columns, rows } = this.facts.levels[level];
    const side = downsample * this.facts.square_px;
    const [left, top, right, bottom] = this.seen;
    const found = [];
    for (let row = Math.max(0, Math.floor(top / side)); row < rows && row * side < bottom; row += 1) {
      for (let column = Math.max(0, Math.floor(left / side)); column < columns && column * side < right; column += 1) {
        const away = Math.hypot((column + 0.5) * side - this.x, (row + 0.5) * side - this.y);
        found.push([away, `${level}/${column}_${row}`, column, row, downsample]);
      }
    }
    return found.sort((one, other) => one[0] - other[0]).map(([, ...square]) => square);
  }

  paintSquare(image, [column, row, downsample]) {
    const side = downsample * this.facts.square_px;
    const [left, top] = this.pixel(column * side, row * side);
    const [right, bottom] = this.pixel(
      column * side + image.width * downsample, row * side + image.height * downsample);
    this.pen.imageSmoothingEnabled = this.zoom < 4;
    this.pen.drawImage(image, left, top, right - left, bottom - top);
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 30 : 1;
      this.zoomAt(Math.exp(-event.deltaY * lines * 0.0018), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("dblclick", (event) => this.zoomAt(2, event.offsetX, event.offsetY));
    canvas.addEventListener("keydown", (event) => this.pressKey(event));
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    if (this.pointers.size === 1) this.pulled = 0;
    else this.pulled = Infinity; // two fingers do not click
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY];
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, now);
    if (others.length === 0) {
      this.pulled += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (this.pulled > CLICK_PX) this.move(now[0] - before[0], now[1] - before[1]);
    } else {
      const [, [left, top]] = others[0];
      const far = (point) => Math.max(1, Math.hypot(point[0] - left, point[1] - top));
      this.move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.zoomAt(far(now) / far(before), (now[0] + left) / 2, (now[1] + top) / 2);
    }
  }

  release(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.pulled <= CLICK_PX) this.onPick(...this.place(event.offsetX, event.offsetY));
  }

  pressKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { clientWidth, clientHeight } = this.canvas;
    const actions = {
      ArrowLeft: () => this.move(STEP * clientWidth, 0),
      ArrowRight: () => this.move(-STEP * clientWidth, 0),
      ArrowUp: () => this.move(0, STEP * clientHeight),
      ArrowDown: () => this.move(0, -STEP * clientHeight),
      "+": () => this.zoomBy(1.5),
      "=": () => this.zoomBy(1.5),
      "-": () => this.zoomBy(1 / 1.5),
      "0": () => this.fit(),
      Home: () => this.fit(),
      Enter: () => this.onPick(this.x, this.y),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}

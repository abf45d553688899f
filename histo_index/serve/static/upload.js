// Drop or paste an image anywhere on the page; draw a box to search with a part of it.
// Without this file the form works by choosing a file.

const form = document.querySelector("form[data-upload]");
const input = form?.querySelector("input[type=file]");

function take(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/"));
  if (!images.length) return;
  const chosen = new DataTransfer();
  for (const image of input.multiple ? images : images.slice(0, 1)) chosen.items.add(image);
  input.files = chosen.files;
  form.closest("details")?.setAttribute("open", "");
  input.dispatchEvent(new Event("change"));
}

function listenForDrops() {
  let inside = 0;
  const mark = (change) => {
    inside = Math.max(0, inside + change);
    document.body.classList.toggle("dragging", inside > 0);
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => hasFiles(event) && mark(1));
  addEventListener("dragleave", (event) => hasFiles(event) && mark(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(-inside);
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) take(event.clipboardData.files);
  });
}

// The crop box: shares of the image, as the server reads them.
class Cropper {
  constructor() {
    this.field = Object.assign(document.createElement("input"), { type: "hidden", name: "crop" });
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Your image. Drag a box to search with a part of it.");
    this.hint = document.createElement("p");
    this.hint.textContent = "Drag a box over the image to search with a part of it.";
    this.clear = Object.assign(document.createElement("button"), { type: "button", hidden: true });
    this.clear.textContent = "Use the whole image";
    this.clear.addEventListener("click", () => this.setBox(null));
    this.element = document.createElement("div");
    this.element.className = "cropper";
    this.element.append(this.canvas, this.hint, this.clear, this.field);
    this.canvas.addEventListener("pointerdown", (event) => this.start(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => (this.origin = null));
  }

  async show(file) {
    this.setBox(null);
    try {
      this.image = await createImageBitmap(file);
    } catch {
      this.element.hidden = true; // a browser cannot draw TIFF; the server can
      return;
    }
    const scale = Math.min(1, 420 / Math.max(this.image.width, this.image.height));
    this.canvas.width = Math.max(1, Math.round(this.image.width * scale));
    this.canvas.height = Math.max(1, Math.round(this.image.height * scale));
    this.element.hidden = false;
    this.draw();
  }

  place(event) {
    const area = this.canvas.getBoundingClientRect();
    const share = (value, size) => Math.min(1, Math.max(0, value / size));
    return [share(event.clientX - area.left, area.width), share(event.clientY - area.top, area.height)];
  }

  start(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.origin = this.place(event);
  }

  move(event) {
    if (!this.origin) return;
    const [x, y] = this.place(event);
    const [left, right] = [this.origin[0], x].sort((a, b) => a - b);
    const [top, bottom] = [this.origin[1], y].sort((a, b) => a - b);
    this.setBox(right - left > 0.02 && bottom - top > 0.02 ? [left, top, right, bottom] : null);
  }

  setBox(box) {
    this.box = box;
    this.field.value = box ? box.map((share) => share.toFixed(4)).join(",") : "";
    this.clear.hidden = !box;
    if (this.image) this.draw();
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    pen.drawImage(this.image, 0, 0, width, height);
    if (!this.box) return;
    const [left, top, right, bottom] = this.box;
    const area = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    pen.fillStyle = "rgb(0 0 0 / 0.5)";
    pen.fillRect(0, 0, width, height);
    const [x, y, w, h] = area;
    const zoom = [this.image.width / width, this.image.height / height];
    pen.drawImage(this.image, x * zoom[0], y * zoom[1], w * zoom[0], h * zoom[1], ...area);
    pen.strokeStyle = "white";
    pen.lineWidth = 2;
    pen.strokeRect(...area);
  }
}

if (form && input) {
  const cropper = new Cropper();
  cropper.element.hidden = true;
  form.append(cropper.element);
  listenForDrops();
  input.addEventListener("change", () => {
    if (input.files.length === 1) cropper.show(input.files[0]);
    else cropper.element.hidden = true;
  });
}

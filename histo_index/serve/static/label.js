// Select results and store a label for them.

import { ask } from "./ask.js";

const area = document.querySelector("[data-labels]");
const token = document.querySelector("meta[name=write-token]")?.content ?? "";

function addBoxes() {
  document.querySelectorAll("[data-tile]").forEach((caption, number) => {
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    box.value = caption.dataset.tile;
    box.setAttribute("aria-label", `select result ${number + 1}`);
    caption.before(box);
  });
}

const boxes = () => [...document.querySelectorAll(".card input[type=checkbox]")];

async function store(label) {
  const said = area.querySelector("[data-labelled]");
  const ids = boxes().filter((box) => box.checked).map((box) => box.value);
  if (!ids.length) {
    said.textContent = "Select tiles first.";
    return;
  }
  const headers = { "X-Histo-Index-Write": token, "Content-Type": "application/json" };
  const body = JSON.stringify({ ids, label });
  try {
    await ask("v1/labels", { method: "POST", headers, body });
  } catch (error) {
    said.textContent = error.message;
    return;
  }
  for (const id of ids) {
    const caption = document.querySelector(`[data-tile="${id}"]`);
    caption.hidden = label === null;
    caption.querySelector("b").textContent = label ?? "";
  }
  const tiles = ids.length === 1 ? "1 tile is" : `${ids.length} tiles are`;
  said.textContent = label === null ? `${tiles} without a label of yours.` : `${tiles} labelled ${label}.`;
}

if (area) {
  const [select, form] = ["[data-select]", "[data-save]"].map((name) => area.querySelector(name));
  area.hidden = false;
  select.addEventListener("click", () => {
    const isOn = form.hidden;
    form.hidden = !isOn;
    select.setAttribute("aria-pressed", String(isOn));
    if (isOn) addBoxes();
    else boxes().forEach((box) => box.remove());
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    store(new FormData(form).get("label").trim());
  });
  area.querySelector("[data-clear]").addEventListener("click", () => store(null));
  area.querySelector("[data-all]").addEventListener("click", () =>
    boxes().forEach((box) => (box.checked = true)));
}

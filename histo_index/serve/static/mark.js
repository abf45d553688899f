// Show one proposed pair after another and store each answer at once.

import { ask } from "./ask.js";

const area = document.querySelector("[data-marking]");
const said = document.querySelector("[data-said]");
const token = document.querySelector("meta[name=write-token]")?.content ?? "";
const waiting = [];
const answered = [];
let current = null;
let isBusy = false;

async function send(path, body) {
  const headers = { "X-Histo-Index-Write": token, "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

const picture = (id) => `v1/tiles/${id}/image?size=320`;

async function show(pair) {
  current = pair;
  const images = ["a", "b"].map((side) => area.querySelector(`[data-side=${side}]`));
  images.forEach((image, number) => (image.src = picture(pair["ab"[number]])));
  area.hidden = false;
  // The last pair stays on the screen until then, and must not be answered as this one.
  await Promise.all(images.map((image) => image.decode().catch(() => {})));
}

const propose = async () => (await (await ask("v1/proposals?count=5")).json()).proposals;

async function next() {
  try {
    if (waiting.length < 2) waiting.push(...(await propose()));
  } catch (error) {
    if (!waiting.length) throw error; // else the last pair is still to be answered
  }
  await show(waiting.shift());
  for (const side of waiting[0] ? ["a", "b"] : []) new Image().src = picture(waiting[0][side]);
}

// What the server wrote is fetched again, so that there is one place that writes it. The threshold
// is fitted for it, which takes a moment: never twice at a time.
let isStale = false;
let isRefreshing = false;

async function refresh() {
  isStale = true;
  if (isRefreshing) return;
  isRefreshing = true;
  while (isStale) {
    isStale = false;
    await fetchStanding();
  }
  isRefreshing = false;
}

async function fetchStanding() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return; // the next answer says what is wrong
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-standing]");
  document.querySelector("[data-standing]").replaceWith(document.adoptNode(fresh));
}

function setBusy(value) {
  isBusy = value;
  area.setAttribute("aria-busy", String(value));
}

async function once(work) {
  if (isBusy) return;
  setBusy(true);
  try {
    await work();
  } catch (error) {
    said.textContent = error.message;
  } finally {
    setBusy(false);
  }
}

const mark = (answer) => once(async () => {
  await send("v1/marks", { proposal: current.proposal, answer });
  answered.push(current);
  refresh(); // nobody need wait for the counts
  await next();
  said.textContent = `Stored: ${answer}.`;
});

const undo = () => once(async () => {
  const { undone } = await send("v1/marks/undo", {});
  refresh();
  if (undone && answered.length) {
    waiting.unshift(current);
    await show(answered.pop());
  }
  said.textContent = undone ? "The last mark was taken back." : "There is no mark of yours.";
});

const ends = (one) => one.low === null ? "" : ` (${one.low.toFixed(3)}…${one.high.toFixed(3)})`;

function describe({ pairs, threshold, accuracy, classes, warnings }) {
  const share = accuracy.value === null ? "unknown" : accuracy.value.toFixed(3) + ends(accuracy);
  return `Calibrated on ${pairs} pairs: threshold ${threshold.value.toFixed(3)}${ends(threshold)}, ` +
    `accuracy ${share}. Searches and pairs use it from now on. ` +
    (classes.length ? `It knows the classes ${classes.join(", ")}. ` : "") +
    warnings.map((one) => `Note: ${one}. `).join("");
}

const calibrate = () => once(async () => {
  const result = document.querySelector("[data-calibrated]");
  result.textContent = "Calibrating…";
  try {
    result.textContent = describe(await send("v1/calibrate", {}));
  } catch (error) {
    result.textContent = `Not calibrated: ${error.message}`;
  }
  await refresh();
});

if (area) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.answer) mark(button.dataset.answer);
    else if (button && "undo" in button.dataset) undo();
    else if (button && "calibrate" in button.dataset) calibrate();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) return;
    if (event.repeat) return; // a key that is held is one answer
    const answer = { s: "same", d: "different", k: "skipped" }[event.key.toLowerCase()];
    if (answer && current) mark(answer);
    else if (event.key.toLowerCase() === "u") undo();
  });
  once(next);
}

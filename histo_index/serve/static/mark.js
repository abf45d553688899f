// Show one proposed pair after another and store each answer at once.

const area = document.querySelector("[data-marking]");
const said = document.querySelector("[data-said]");
const token = document.querySelector("meta[name=write-token]")?.content ?? "";
let waiting = [];
let current = null;
let isBusy = false;

async function ask(path, body) {
  const headers = { "X-Histo-Index-Write": token, "Content-Type": "application/json" };
  const options = body === undefined ? {} : { method: "POST", headers, body: JSON.stringify(body) };
  const answer = await fetch(path, options);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.detail);
  return found;
}

const picture = (id) => `v1/tiles/${id}/image?size=320`;

async function next() {
  if (waiting.length < 2) waiting.push(...(await ask("v1/proposals?count=5")).proposals);
  current = waiting.shift();
  for (const side of ["a", "b"]) {
    area.querySelector(`[data-side=${side}]`).src = picture(current[side]);
    if (waiting[0]) new Image().src = picture(waiting[0][side]);
  }
  area.hidden = false;
}

// What the server wrote is fetched again, so that there is one place that writes it.
async function refresh() {
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-standing]");
  document.querySelector("[data-standing]").replaceWith(document.adoptNode(fresh));
}

async function once(work) {
  if (isBusy) return;
  isBusy = true;
  try {
    await work();
  } catch (error) {
    said.textContent = error.message;
  } finally {
    isBusy = false;
  }
}

const mark = (answer) => once(async () => {
  await ask("v1/marks", { proposal: current.proposal, answer });
  await next();
  said.textContent = `Stored: ${answer}.`;
  refresh(); // nobody need wait for the counts
});

const undo = () => once(async () => {
  const { undone } = await ask("v1/marks/undo", {});
  said.textContent = undone ? "The last mark was taken back." : "There is no mark of yours.";
  refresh();
});

const calibrate = () => once(async () => {
  const found = await ask("v1/calibrate", {});
  await refresh();
  const ends = (one) => one.low === null ? "" : ` (${one.low.toFixed(3)}…${one.high.toFixed(3)})`;
  const [threshold, accuracy] = [found.threshold, found.accuracy];
  const share = accuracy.value === null ? "unknown" : accuracy.value.toFixed(3) + ends(accuracy);
  document.querySelector("[data-calibrated]").textContent =
    `Calibrated on ${found.pairs} pairs: threshold ${threshold.value.toFixed(3)}${ends(threshold)}, ` +
    `accuracy ${share}. Searches and pairs use it from now on.`;
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
    const answer = { s: "same", d: "different", k: "skipped" }[event.key.toLowerCase()];
    if (answer) mark(answer);
    else if (event.key.toLowerCase() === "u") undo();
  });
  once(next);
}

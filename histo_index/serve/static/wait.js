// Load the page again once the server has made what it shows.

const isWaiting = (page) => page.querySelector("[data-waiting]") !== null;

async function look() {
  const answer = await fetch(location.href).catch(() => null);
  const text = answer?.ok ? await answer.text() : "";
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (answer?.ok && !isWaiting(fresh)) location.reload();
  else setTimeout(look, 2000);
}

if (isWaiting(document)) setTimeout(look, 1000);

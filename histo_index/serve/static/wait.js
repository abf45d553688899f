// Load the page again once the server has made what it shows.

const isWaiting = (page) => page.querySelector("[data-waiting]") !== null;

async function look() {
  const answer = await fetch(location.href).catch(() => null);
  const isBusy = !answer || answer.status === 503;
  const text = isBusy ? "" : await answer.text();
  const fresh = new DOMParser().parseFromString(text, "text/html");
  // A refusal is shown too, such as that of a session that has ended.
  if (isBusy || isWaiting(fresh)) setTimeout(look, 2000);
  else location.reload();
}

if (isWaiting(document)) setTimeout(look, 1000);

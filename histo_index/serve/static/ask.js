// Ask the server. An error has a sentence that can be shown.

const GONE = "The server does not answer. If it was stopped, start it and open the address it prints.";

export async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error(GONE);
  });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer;
}

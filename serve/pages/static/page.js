// What all pages share: questions to the API, a line that says what happened, and pages that stay as things are.

const said = document.getElementById("said");

/** Say something to those who see or hear the page; it stays until something else is said. */
export function say(text) {
  said.textContent = text;
}

/** Ask the API; returns the document of its answer. Throws an Error that says what is wrong and what to do. */
export async function ask(method, path, body) {
  const options = { method, headers: body === undefined ? {} : { "Content-Type": "application/json" } };
  if (body !== undefined) options.body = JSON.stringify(body);
  const answer = await fetch(`/api/v1${path}`, options);
  if (!answer.ok) throw new Error(problem(answer, await answer.text()));
  return answer.status === 204 ? null : answer.json();
}

/** What an answer other than success says, as a sentence. */
export function problem(answer, text) {
  try {
    const { detail, remedy } = JSON.parse(text);
    return remedy ? `${detail}; ${remedy}` : detail;
  } catch {
    return `the server answers ${answer.status}`;
  }
}

/** Moments as people here write them. */
export function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  }
}

localise(document);

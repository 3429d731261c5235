// The page of the fleet: pause and resume.

import { ask, say } from "./page.js";
import { refresh } from "./live.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-switch]");
  if (!button) return;
  try {
    await ask("POST", `/${button.dataset.switch}`);
    say(button.dataset.switch === "pause" ? "Paused: nothing new starts." : "Work goes on.");
  } catch (error) {
    say(error.message);
  }
  refresh();
});

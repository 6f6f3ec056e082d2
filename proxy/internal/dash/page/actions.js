// Commands, and the token they need. It is kept for this tab only and sent in a header only.

import { mark, say } from "./dom.js";

const tokenKey = "erlmcp-admin-token";
const $ = (id) => document.getElementById(id);

let waiting = null; // resolves when the dialog closes

/** announce tells everybody, those who listen included, what has happened. */
export function announce(message, bad = false) {
  mark($("announcements"), "data-kind", bad ? "bad" : null);
  say($("announcements"), message);
}

/** send posts a command and returns the answer. It throws what the balancer says against it. */
async function send(path, token, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const error = new Error(answer.error?.message ?? `the balancer answers ${response.status}`);
  error.status = response.status;
  throw error;
}

/** ask shows the dialog. It resolves to a token that is right, or to null. */
function ask(problem = "") {
  if (waiting) return waiting.promise;
  waiting = Promise.withResolvers();
  say($("token-error"), problem);
  $("token").value = "";
  $("token-dialog").showModal();
  return waiting.promise;
}

/** run sends a command with the token, asking for it where needed. It reports whether that was done. */
export async function run(path, body, done) {
  let token = sessionStorage.getItem(tokenKey) ?? (await ask());
  while (token) {
    try {
      announce(done(await send(path, token, body)));
      return true;
    } catch (error) {
      if (error.status !== 401) {
        announce(error.message, true);
        return false;
      }
      lock();
      token = await ask("The token is no longer valid: the balancer has been restarted.");
    }
  }
  return false;
}

function lock() {
  sessionStorage.removeItem(tokenKey);
  showLock();
}

function showLock() {
  say($("lock"), sessionStorage.getItem(tokenKey) ? "Lock actions" : "Unlock actions");
}

async function submit(event) {
  event.preventDefault();
  const token = $("token").value.trim();
  try {
    await send("/api/token", token);
  } catch (error) {
    say($("token-error"), error.status === 401 ? "This is not the token." : error.message);
    $("token").select();
    return;
  }
  sessionStorage.setItem(tokenKey, token);
  showLock();
  $("token-dialog").close(token);
}

/** prepareActions makes dialog and lock work. */
export function prepareActions() {
  const dialog = $("token-dialog");
  dialog.querySelector("form").addEventListener("submit", submit);
  $("token-cancel").addEventListener("click", () => dialog.close(""));
  dialog.addEventListener("cancel", () => { dialog.returnValue = ""; });
  dialog.addEventListener("close", () => {
    const token = dialog.returnValue;
    dialog.returnValue = "";
    $("token").value = "";
    waiting?.resolve(token || null);
    waiting = null;
  });
  $("lock").addEventListener("click", async () => {
    if (sessionStorage.getItem(tokenKey)) {
      lock();
      announce("Actions are locked.");
    } else if (await ask()) {
      announce("Actions are unlocked.");
    }
  });
  showLock();
}

// All that the pages do by script. Without it each of them reads, and each form posts.
"use strict";

const root = document.documentElement;

// The server writes times in the reader's zone, which it learns from this cookie. A frame keeps only one of its own.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.split("; ").includes(`tz=${zone}`)) {
  const safe = location.protocol === "https:" ? "; secure" : "";
  const where = window === top ? `samesite=lax${safe}` : "samesite=none; secure; partitioned";
  document.cookie = `tz=${zone}; path=/; max-age=31536000; ${where}`;
}

// On a phone the names of the pages do not all have room: the one that is open is in sight.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// A link that signs in: what is behind the # reaches no server, so it is posted, and leaves the address.
const enter = document.getElementById("enter");
if (enter && location.hash.length > 1) {
  const { hash } = location;
  history.replaceState(null, "", location.pathname);
  enter.elements.link.value = hash;
  enter.requestSubmit();
}

// Parts that are live ask for themselves again with each tick, while somebody looks.
let paused = false;
function tick() {
  if (!document.hidden && !paused && document.querySelector("[data-live]")) htmx.trigger(document.body, "tick");
}
const pause = document.querySelector("[data-pause]");
const every = document.querySelector("[data-every]");
if (every) setInterval(tick, 1000 * every.dataset.every);
document.addEventListener("visibilitychange", tick);
if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    root.toggleAttribute("data-paused", paused);
    tick();
  });
}

// An answer that is an error leaves the page as it is. Who clicked is led to it; a tick only says so.
document.addEventListener("htmx:response:error", (event) => {
  const { ctx } = event.detail;
  if (ctx.sourceElement.matches("[data-live]")) root.toggleAttribute("data-away", true);
  else if (ctx.request.method === "GET") location.assign(ctx.request.action);
});
document.addEventListener("htmx:error", () => root.toggleAttribute("data-away", true));
document.addEventListener("htmx:after:swap", (event) => {
  root.removeAttribute("data-away");
  const ask = document.getElementById("ask");
  if (event.detail.ctx.target?.id === "question" && ask && !ask.open) ask.showModal();
});

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy || document.getElementById(copy.dataset.of).textContent);
    copy.dataset.copied = "";
    setTimeout(() => delete copy.dataset.copied, 1500);
  }
  if (event.target.closest("dialog [data-close]") || event.target.nodeName === "DIALOG") {
    event.preventDefault();
    event.target.closest("dialog").close();
  }
});

// What is chosen below the pages, and filters, apply at once; their buttons are for those without script.
document.addEventListener("change", (event) => {
  if (event.target.form?.matches(".foot-in, [data-now]")) event.target.form.requestSubmit();
});

// A secret that is shown goes again.
const hideLater = () => {
  for (const shown of document.querySelectorAll("[data-hide-after]:not([data-hiding])")) {
    shown.dataset.hiding = "";
    setTimeout(() => shown.remove(), 1000 * shown.dataset.hideAfter);
  }
};
hideLater();
new MutationObserver(hideLater).observe(document.body, { childList: true, subtree: true });

document.addEventListener("keydown", (event) => {
  const inField = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !inField && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.getElementById("search");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  }
});

root.classList.add("scripted");

// What scripts add to the pages: <main> is updated every 5 s, and "/" moves to the search field. Pages work without them.
"use strict";
const main = document.getElementById("main");
const live = document.getElementById("live");
const field = document.getElementById("q");
const SECONDS = 5;
const AGED_SECONDS = 12; // two updates have failed to come
let paused = false;
let lost = null;
let updated = performance.now();

document.addEventListener("keydown", (event) => {
  if (field && event.key === "/" && !event.ctrlKey && !event.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

// Selected text, and a form that somebody fills in, stay as they are.
const isBusy = () =>
  document.hidden || paused || !document.getSelection().isCollapsed || main.querySelector("form :focus") !== null;

const announce = (text) => {
  const line = live.querySelector("span");
  if (line.textContent !== text) line.textContent = text; // a screen reader reads only what changes
};

const follow = async () => {
  if (isBusy()) return;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(10000) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const newer = page.getElementById("main");
    if (!newer) throw new Error("no page of the console"); // a proxy says that the console is away
    if (isBusy()) return;
    for (const open of main.querySelectorAll("details[open][id]")) newer.querySelector("#" + open.id)?.setAttribute("open", "");
    const here = main.querySelector(":focus")?.outerHTML;
    const again = here && [...newer.querySelectorAll("a, summary, [tabindex]")].find((element) => element.outerHTML === here);
    if (here && !again) return; // do not take away the focused element
    main.replaceChildren(...newer.childNodes);
    again?.focus({ preventScroll: true });
    document.title = page.title;
    lost = null;
    updated = performance.now();
    announce(live.dataset.on);
  } catch {
    lost ??= new Date().toISOString().slice(11, 19) + " UTC";
    announce(live.dataset.lost + " " + lost);
  }
  live.classList.toggle("bad", lost !== null);
  tellAge();
};

// A verdict that no update has confirmed is not shown as current: the page may have been paused or in the background.
const tellAge = () => {
  const seconds = Math.round((performance.now() - updated) / 1000);
  const isAged = seconds > AGED_SECONDS;
  main.classList.toggle("aged", isAged);
  document.querySelectorAll("p.aged").forEach((note) => note.remove());
  const verdict = main.querySelector(".verdict");
  if (!isAged || !verdict) return;
  const note = document.createElement("p");
  note.className = "aged";
  note.textContent = live.dataset.old.replace("{}", seconds + " s") + (paused ? live.dataset.paused : live.dataset.why);
  verdict.prepend(note);
};

if ("refresh" in main.dataset) {
  const button = document.createElement("button");
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    announce(paused ? live.dataset.off : live.dataset.on);
    if (!paused) follow();
  });
  live.append(document.createElement("span"), " ", button);
  announce(live.dataset.on);
  setInterval(follow, SECONDS * 1000);
  setInterval(tellAge, 1000);
  document.addEventListener("visibilitychange", () => {
    tellAge();
    follow();
  });
}

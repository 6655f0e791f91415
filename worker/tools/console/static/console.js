// What the pages gain with scripts: <main> follows every 5 s, "/" leads to the search field. Without, they work all the same.
"use strict";
const main = document.getElementById("main");
const live = document.getElementById("live");
const field = document.getElementById("q");
const SECONDS = 5;
let paused = false;
let lost = null;

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

const isBusy = () => document.hidden || paused || !document.getSelection().isCollapsed;

const told = (text) => {
  const line = live.querySelector("span");
  if (line.textContent !== text) line.textContent = text; // a screen reader tells what changes, and only that
};

const follow = async () => {
  if (isBusy()) return;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(10000) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const newer = page.getElementById("main");
    if (!newer || isBusy()) return;
    for (const one of main.querySelectorAll("details[open][id]")) newer.querySelector("#" + one.id)?.setAttribute("open", "");
    const here = main.querySelector(":focus")?.outerHTML;
    const again = here && [...newer.querySelectorAll("a, summary, [tabindex]")].find((one) => one.outerHTML === here);
    if (here && !again) return; // who is at something that is gone stays at it
    main.replaceChildren(...newer.childNodes);
    again?.focus({ preventScroll: true });
    document.title = page.title;
    lost = null;
    told(live.dataset.on);
  } catch {
    lost ??= new Date().toISOString().slice(11, 19) + " UTC";
    told(live.dataset.lost + " " + lost);
  }
  live.classList.toggle("bad", lost !== null);
};

if ("refresh" in main.dataset) {
  const button = document.createElement("button");
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    told(paused ? live.dataset.off : live.dataset.on);
  });
  live.append(document.createElement("span"), " ", button);
  told(live.dataset.on);
  setInterval(follow, SECONDS * 1000);
}

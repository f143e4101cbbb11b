"use strict";
const MOST = 60; // matches that are listed
const box = document.getElementById("search");
const status = document.getElementById("matches");
const found = document.getElementById("found");
const index = document.getElementById("index");
const sections = Array.from(document.querySelectorAll("main > section"));
const lists = Array.from(document.querySelectorAll("[data-list]"), (element) => ({
  element,
  name: element.querySelector("h2, h3")?.textContent ?? "",
  faces: Array.from(element.querySelectorAll("li")),
}));
let files = true; // whether the index has faces and files too
let entries = null; // of the index: text to search, name above it, text to show, note, address

// Accents and their encoding make no difference: file systems write them in two ways.
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

// People first, then the faces and files.
function read() {
  if (entries) return;
  const groups = [], faces = [];
  for (const { key, title, pages, groups: own, rows } of index ? JSON.parse(index.textContent) : []) {
    const address = (row) => {
      let low = 0, high = pages.length; // the last page that starts at or before the row
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (pages[middle] <= row) low = middle; else high = middle;
      }
      return `report/${key}-${low + 1}.html`;
    };
    files &&= Boolean(rows);
    let row = 0;
    own.forEach(([name, count], group) => {
      const note = count.toLocaleString("en");
      const above = folded(name);
      if (name) groups.push([above, "", name, note, `${address(row)}#g${group}`]);
      for (const [path, caption] of rows?.slice(row, row + count) ?? []) {
        const said = [name || title, caption].filter(Boolean).join(", ");
        const text = folded(`${name} ${caption ?? ""} ${path}`);
        faces.push([text, above, path, said, `${address(row)}#r${row}`]);
        row += 1;
      }
      if (!rows) row += count;
    });
  }
  entries = groups.concat(faces);
}

function line([, , text, note, address]) {
  const item = document.createElement("li");
  const link = item.appendChild(document.createElement("a"));
  link.href = address;
  link.textContent = text;
  item.append(" ", Object.assign(document.createElement("span"), { textContent: note }));
  return item;
}

// Where a name is found, it leads to the faces below it.
function search(words) {
  if (!found) return null;
  read();
  const has = (text) => words.every((word) => text.includes(word));
  const matches = words.length ? entries.filter(([text, above]) => has(text) && !has(above)) : [];
  found.querySelector("ul").replaceChildren(...matches.slice(0, MOST).map(line));
  lists[0].faces = Array.from(found.querySelectorAll("li"));
  hide(found, matches.length === 0);
  return matches.length;
}

function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

function filter() {
  const words = folded(box.value).split(/\s+/).filter(Boolean);
  const everywhere = search(words);
  let shown = 0, all = 0;
  for (const list of lists) {
    if (found?.contains(list.element)) continue;
    list.text ??= folded(list.name);
    list.texts ??= list.faces.map((face) => folded(`${list.name} ${face.textContent}`));
    const byName = words.every((word) => list.text.includes(word));
    let visible = 0;
    list.faces.forEach((face, place) => {
      const matches = byName || words.every((word) => list.texts[place].includes(word));
      hide(face, !matches);
      visible += matches;
    });
    hide(list.element, visible === 0);
    shown += visible;
    all += list.faces.length;
  }
  for (const section of sections) {
    if (section === found || section.matches("[data-list]")) continue;
    const within = section.querySelectorAll("[data-list]");
    hide(section, words.length > 0 && Array.from(within).every((element) => element.hidden));
  }
  const main = document.querySelector("main");
  if (words.length && main.getBoundingClientRect().top < 0) main.scrollIntoView();
  const number = (count) => count.toLocaleString("en");
  const here = `${number(shown)} of ${number(all)} on this page match`;
  const rest = files ? "" : "; of files, only those on this page are searched, faces.csv has all";
  const more = everywhere > MOST ? `, the first ${MOST} are listed` : "";
  status.textContent = !words.length ? ""
    : everywhere === null ? here : `${number(everywhere)} in the whole report match${more}${rest}`;
}

// The elements of a list that the arrow keys move between, in order.
function stops(list) {
  return Array.from(list.element.querySelectorAll("a")).filter((stop) => stop.checkVisibility());
}

function neighbour(stop, key) {
  const element = stop.closest("[data-list]");
  const at = lists.findIndex((list) => list.element === element);
  const here = stops(lists[at]);
  const step = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
  const next = here[here.indexOf(stop) + step];
  const byLine = key === "ArrowLeft" || key === "ArrowRight" || stop.closest(".lines");
  if (byLine && next) return next;
  for (let place = at + step; place >= 0 && place < lists.length; place += step) {
    const there = stops(lists[place]);
    if (there.length) return key === "ArrowLeft" ? there.at(-1) : there[0];
  }
  return step < 0 ? box : null;
}

function firstStop() {
  return lists.flatMap(stops)[0] ?? null;
}

box.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const active = document.activeElement;
  let target = null;
  if (event.key === "/" && active !== box) {
    target = box;
  } else if (event.key === "Escape") {
    target = box;
    box.value = "";
    filter();
  } else if (active === box && (event.key === "Enter" || event.key === "ArrowDown")) {
    target = firstStop();
  } else if (event.key.startsWith("Arrow") && active?.closest("[data-list]")) {
    target = neighbour(active, event.key);
  }
  if (target) {
    event.preventDefault();
    target.focus();
    if (target !== box) target.scrollIntoView({ block: "nearest" });
  }
});
document.querySelectorAll(".find").forEach((element) => { element.hidden = false; });
(window.requestIdleCallback ?? setTimeout)(read); // before the first key

"use strict";
const AT_ONCE = 1000; // lines of a list, before a button asks for more
const TO_OPEN = 60; // a list with so few matches opens by itself
const box = document.getElementById("search");
const status = document.getElementById("matches");
const data = JSON.parse(document.getElementById("faces").textContent);
const sections = Array.from(document.querySelectorAll("main > section"));
const lists = Array.from(document.querySelectorAll("[data-list]"), (element) => {
  const details = element.tagName === "DETAILS" ? element : element.querySelector("details");
  const number = Number(element.dataset.list);
  const label = details?.querySelector(details === element ? ".count" : "summary");
  return {
    element, details, number, label,
    group: data.groups[number],
    front: Array.from(element.querySelectorAll("[data-face]")),
    labelled: label?.textContent,
    matches: null, // the places of the faces that match; null: all
    drawn: null, // the matches that the list shows now
    opened: false, // by the search, not by the reader
  };
});
const everything = data.groups.reduce((sum, group) => sum + group.faces.length, 0);
const unlisted = data.groups.reduce((sum, group) => sum + group.count - group.faces.length, 0);
let pictures = null;

// Accents and their encoding make no difference: file systems write them in two ways.
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

function texts(group) {
  group.text ??= group.faces.map(([photo, caption]) => folded(`${group.name} ${caption} ${photo}`));
  return group.text;
}

function uri(photo, given) {
  return given ?? `${data.root}/${photo.split("/").map(encodeURIComponent).join("/")}`;
}

function picture(list, place) {
  pictures ??= JSON.parse(document.getElementById("pictures").textContent);
  const source = pictures[`${list.number}:${place}`];
  return source
    ? `data:image/jpeg;base64,${source}`
    : list.front.find((face) => Number(face.dataset.face) === place)?.querySelector("img")?.src;
}

function line(list, place) {
  const [photo, caption, given] = list.group.faces[place];
  const item = document.createElement("li");
  const link = item.appendChild(document.createElement("a"));
  link.href = uri(photo, given);
  link.title = photo;
  const source = picture(list, place);
  if (source) {
    const image = link.appendChild(new Image(96, 96));
    image.loading = "lazy";
    image.alt = "";
    image.src = source;
  }
  link.append(photo);
  if (caption) item.append(" ", Object.assign(document.createElement("span"), { textContent: caption }));
  return item;
}

// Lines from `start` on, in blocks of a hundred, which the browser lays out when they are seen.
function draw(list, start = 0) {
  const places = list.matches ?? list.group.faces.keys();
  const all = Array.from(places);
  if (start === 0) list.details.querySelectorAll("ul, p").forEach((old) => old.remove());
  list.details.querySelector("button")?.remove();
  const stop = Math.min(start + AT_ONCE, all.length);
  for (let block = start; block < stop; block += 100) {
    const lines = all.slice(block, Math.min(block + 100, stop)).map((place) => line(list, place));
    const part = document.createElement("ul");
    part.style.containIntrinsicHeight = `auto ${lines.length * 26}px`;
    part.append(...lines);
    list.details.append(part);
  }
  if (stop < all.length) {
    const more = document.createElement("button");
    more.textContent = `Show more of the ${(all.length - stop).toLocaleString("en")} others`;
    more.addEventListener("click", () => {
      draw(list, stop);
      list.details.querySelectorAll("ul")[stop / 100]?.querySelector("a").focus();
    });
    list.details.append(more);
  } else if (!list.matches && list.group.count > all.length) {
    const rest = (list.group.count - all.length).toLocaleString("en");
    const note = document.createElement("p");
    note.textContent = `${rest} more are in faces.csv only.`;
    list.details.append(note);
  }
  list.drawn = list.matches ?? list.group.faces;
}

function drawIfOpen(list) {
  if (list.details?.open && list.drawn !== (list.matches ?? list.group.faces)) draw(list);
}

function matching(list, words) {
  const name = folded(list.group.name);
  const missing = words.filter((word) => !name.includes(word));
  if (!missing.length && (list.group.name || !words.length)) return null;
  const found = [];
  texts(list.group).forEach((text, place) => {
    if (words.every((word) => text.includes(word))) found.push(place);
  });
  return found.length === list.group.faces.length ? null : found;
}

function hide(element, hidden) {
  if (element.hidden !== hidden) element.hidden = hidden;
}

function filter() {
  const words = folded(box.value).split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const list of lists) {
    const { group, front, details } = list;
    const matches = matching(list, words);
    const count = matches ? matches.length : group.faces.length;
    shown += count;
    list.matches = matches;
    hide(list.element, count === 0);
    if (count === 0) continue;
    const set = new Set(matches ?? []);
    let visible = 0;
    for (const face of front) {
      const hidden = matches !== null && !set.has(Number(face.dataset.face));
      hide(face, hidden);
      visible += !hidden;
    }
    if (!details) continue;
    const label = matches ? `${count.toLocaleString("en")} of ${group.count.toLocaleString("en")} match` : list.labelled;
    if (list.label.textContent !== label) list.label.textContent = label;
    const open = matches !== null && visible < count && count <= TO_OPEN;
    if (open && !details.open) list.opened = details.open = true;
    else if (!open && list.opened) list.opened = details.open = false;
    drawIfOpen(list);
  }
  for (const section of sections) {
    const within = section.querySelectorAll("[data-list]");
    hide(section, words.length > 0 && Array.from(within).every((element) => element.hidden));
  }
  const rest = unlisted ? `; ${unlisted.toLocaleString("en")} more are in faces.csv only` : "";
  status.textContent = words.length
    ? `${shown.toLocaleString("en")} of ${everything.toLocaleString("en")} match${rest}` : "";
}

// The elements of a list that the arrow keys move between, in order.
function stops(list) {
  return Array.from(list.element.querySelectorAll("a, summary, button")).filter(
    (stop) => stop.checkVisibility());
}

function neighbour(stop, key) {
  const element = stop.closest("[data-list]");
  const at = lists.findIndex((list) => list.element === element);
  const here = stops(lists[at]);
  const step = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
  const next = here[here.indexOf(stop) + step];
  const byLine = key === "ArrowLeft" || key === "ArrowRight" || stop.closest("details");
  if (byLine && next) return next;
  for (let place = at + step; place >= 0 && place < lists.length; place += step) {
    if (!lists[place].element.hidden) {
      const there = stops(lists[place]);
      if (there.length) return key === "ArrowLeft" ? there.at(-1) : there[0];
    }
  }
  return step < 0 ? box : null;
}

function firstStop() {
  const list = lists.find(({ element }) => !element.hidden);
  return list ? stops(list)[0] : null;
}

box.addEventListener("input", filter);
document.addEventListener("toggle", (event) => {
  const list = lists.find(({ details }) => details === event.target);
  if (list) drawIfOpen(list);
}, true);
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
lists.forEach(drawIfOpen);
(window.requestIdleCallback ?? setTimeout)(() => data.groups.forEach(texts)); // before the first key

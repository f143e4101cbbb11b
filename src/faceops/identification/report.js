"use strict";
const box = document.getElementById("search");
const items = Array.from(document.querySelectorAll("[data-search]"));
const groups = Array.from(document.querySelectorAll("[data-group]")).reverse(); // inner ones first
const status = document.getElementById("matches");

function filter() {
  const words = box.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const item of items) {
    const text = item.dataset.search.toLocaleLowerCase();
    item.hidden = !words.every((word) => text.includes(word));
    shown += item.hidden ? 0 : 1;
  }
  for (const group of groups) {
    const within = Array.from(group.querySelectorAll("[data-search]"));
    group.hidden = words.length > 0 && within.every((item) => item.hidden);
  }
  status.textContent = words.length ? `${shown} of ${items.length} match` : "";
}

box.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "Escape" && document.activeElement === box) {
    box.value = "";
    filter();
  }
});

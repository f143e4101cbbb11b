"use strict";
// Names and file names are hostile: they reach the page as text and as addresses, never as HTML.

const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
const faces = (count) => `${count.toLocaleString("en")} face${count === 1 ? "" : "s"}`;
const address = (page, name) => `/${page}/${encodeURIComponent(name)}`;
const percent = (share) => `${Math.min(99, Math.floor(share * 100))}\u00a0%`;

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

function picture(source, size = 160) {
  return make("img", { src: source, alt: "", width: size, height: size, loading: "lazy", decoding: "async" });
}

// Requests: decisions are sent one after the other, in the order in which they were made.

let last = Promise.resolve();
let waiting = 0;
const KEPT_ALIVE = 60000; // bytes of a request that a browser sends although its page is gone

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: is faceops review still running?");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? `The server answered ${answer.status}.`);
  return content;
}

function post(decision, body) {
  const headers = { "Content-Type": "application/json", "X-FaceOps": "1" };
  const content = JSON.stringify(body);
  const options = { method: "POST", headers, body: content, keepalive: content.length < KEPT_ALIVE };
  waiting += 1;
  const done = last.then(() => ask(`/api/${decision}`, options)).finally(() => {
    waiting -= 1;
    if (!waiting) updateStatus();
  });
  last = done.catch(() => {});
  return done;
}

// The one that is on its way arrives; those behind it would be lost.
window.addEventListener("beforeunload", (event) => {
  if (waiting > 1) event.preventDefault();
});

// What is said: a toast with Undo after a decision, an alert after an error.

const toast = $("#toast"), alertBox = $("#alert");
let hideToast = 0;

function say(text, canUndo = false) {
  clearTimeout(hideToast);
  toast.replaceChildren(make("span", { textContent: text }));
  if (canUndo) toast.append(make("button", { type: "button", textContent: "Undo", onclick: undo }));
  hideToast = setTimeout(() => toast.replaceChildren(), 12000);
}

function complain(error) {
  const close = () => alertBox.replaceChildren();
  alertBox.replaceChildren(
    make("span", { textContent: error.message }),
    make("button", { type: "button", textContent: "Close", onclick: close }),
  );
}

function sayOnNextPage(text) {
  sessionStorage.setItem("said", text);
}

// Decisions of this tab that can be undone, the latest last; those of earlier pages have no `restore`.

const undoable = JSON.parse(sessionStorage.getItem("undoable") ?? "[]");

function store() {
  const known = undoable.filter((entry) => typeof entry.batch === "string").slice(-100);
  sessionStorage.setItem("undoable", JSON.stringify(known.map(({ batch, text, from }) => ({ batch, text, from }))));
}

function forgetEntry(entry) {
  const place = undoable.indexOf(entry);
  if (place >= 0) undoable.splice(place, 1);
  store();
}

// Send a decision. `restore` takes back what the page shows of it already, or returns the page to go
// to; `refresh` shows what the server has, when that has changed.
function decide(decision, body, text, restore, refresh) {
  const entry = { text, restore, refresh };
  entry.batch = postAndAsk(decision, body).then((answer) => {
    if (!answer) throw new Error("Nothing was changed.");
    entry.batch = answer.batch;
    store();
    return answer.batch;
  });
  entry.batch.catch((error) => {
    if (undoable.includes(entry)) restore?.();
    forgetEntry(entry);
    toast.replaceChildren();
    complain(error);
    return refresh?.();
  }).catch(complain);
  undoable.push(entry);
  say(text, true);
  return entry.batch;
}

// People who are separate again have their faces when the album is decided anew.
async function untilDecided() {
  for (let tries = 0; tries < 25; tries += 1) {
    const { busy } = await ask("/api/status").catch(() => ({}));
    if (!busy) return;
    await new Promise((done) => { setTimeout(done, 200); });
  }
}

async function undo() {
  const entry = undoable.pop();
  if (!entry) return say("Nothing to undo here. History lists every decision.");
  store();
  say(`Undone: ${entry.text}`);
  const elsewhere = entry.restore ? entry.restore() : entry.from ?? location.pathname;
  try {
    if (entry.batch) await post("undo", { batch: await entry.batch });
    await entry.refresh?.();
  } catch (error) {
    return complain(error);
  }
  if (elsewhere) {
    await untilDecided();
    sayOnNextPage(`Undone: ${entry.text}`);
    location.assign(elsewhere);
  }
}

// The state of the server, in the head of the page.

let nextLook = 0;

async function updateStatus() {
  clearTimeout(nextLook);
  let status;
  try {
    status = await ask("/api/status");
  } catch (error) {
    $("#state").textContent = error.message;
    nextLook = setTimeout(updateStatus, 5000);
    return;
  }
  if ($("#state").textContent !== status.text) $("#state").textContent = status.text;
  for (const [name, count] of Object.entries(status.left)) {
    const badge = $(`[data-left="${name}"]`);
    badge.textContent = count.toLocaleString("en");
    badge.hidden = count === 0;
  }
  $("#publish").hidden = !(status.unpublished || status.publishing);
  $("#publish").textContent = status.unpublished ? `Publish ${status.unpublished.toLocaleString("en")}` : "Publish";
  $("#publish").disabled = status.publishing;
  $("#progress").hidden = !status.publishing;
  if (status.progress) $("#progress").value = status.progress;
  else $("#progress").removeAttribute("value");
  nextLook = setTimeout(updateStatus, document.hidden ? 30000 : status.busy ? 700 : 5000);
}

// Names to complete, asked for when somebody begins to type one.

let names = null;

document.addEventListener("focusin", async ({ target }) => {
  if (target.getAttribute("list") !== "people" || names) return;
  names = ask("/api/people");
  try {
    const { people } = await names;
    $("#people").replaceChildren(...people.map((value) => make("option", { value })));
  } catch (error) {
    names = null;
    complain(error);
  }
});

// Dialogs: the keys, why to ignore, somebody else, a question of the server.

function choose(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true });
  });
}

async function chooseName() {
  const dialog = $("#else"), input = $("input", dialog);
  input.value = "";
  const chosen = await choose(dialog);
  return chosen ? input.value.trim() : "";
}

// The server may ask back, more than once; null if nothing is to be done then.
async function postAndAsk(decision, body) {
  const answer = await post(decision, body);
  if (!answer.asks) return answer;
  const choices = Object.keys(answer.choices), className = choices.length === 1 ? "danger" : "";
  $("#question p").textContent = answer.asks;
  $("#question div").replaceChildren(...choices.map((value) => make("button", { value, className, textContent: value })));
  const chosen = await choose($("#question"));
  return chosen ? postAndAsk(decision, { ...body, ...answer.choices[chosen] }) : null;
}

const STOPS = "main :is(a, button, input, summary)";

// Send a decision after which the page is another. Enter may come twice.
let going = false;

async function decideAndGo(decision, body, then) {
  if (going) return;
  going = true;
  try {
    const answer = await postAndAsk(decision, body);
    if (!answer) {
      going = false;
      return;
    }
    if (answer.person) then = address("people", answer.person);
    if (decision === "forget") undoable.length = 0; // their texts have the name
    if (answer.batch) undoable.push({ batch: answer.batch, text: answer.said, from: location.pathname });
    if (decision === "forget") undoable.length = 0; // they say names
    store();
    sayOnNextPage(decision === "forget" ? "Forgotten" : answer.said);
    sessionStorage.setItem("focus", all(STOPS).indexOf(document.activeElement));
    if (then && then !== location.pathname) location.assign(then);
    else location.reload();
  } catch (error) {
    going = false;
    complain(error);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.decision) return;
  event.preventDefault();
  const body = Object.fromEntries(new FormData(form, event.submitter));
  if (form.dataset.leaves) return leave(form, body);
  decideAndGo(form.dataset.decision, body, form.dataset.then);
});

// Send a decision about an item of a list, which leaves at once.
function leave(form, body) {
  const item = form.closest("li"), list = item.parentNode, { nextElementSibling: after } = item;
  const near = after ?? item.previousElementSibling;
  item.remove();
  if (near) (near.tabIndex < 0 ? $("input:not([type=hidden]), button", near) : near).focus();
  decide(form.dataset.decision, body, form.dataset.leaves, () => {
    list.insertBefore(item, after?.isConnected ? after : null);
    item.focus();
    return "";
  });
}

// A list of faces to decide about.

class Board {
  constructor(root, content) {
    this.root = root;
    this.list = $("[role=listbox]", root);
    this.selected = new Set();
    this.skipped = 0;
    this.list.addEventListener("keydown", (event) => this.onKey(event));
    this.list.addEventListener("click", (event) => this.onClick(event));
    this.list.addEventListener("dblclick", () => this.open("photo"));
    this.list.addEventListener("focusin", ({ target }) => this.activate(target.closest(".face")));
    root.addEventListener("click", ({ target }) => {
      const button = target.closest("button[data-do]");
      if (button) this[button.dataset.do]();
      if (target.closest("[data-open]")) history.replaceState({ face: this.active.face.key, loaded: this.loaded }, "");
    });
    this.show(content);
    if (history.state?.face) this.returnTo(history.state);
  }

  // After Back the keys are for the face that was looked at, not for the first one.
  async returnTo({ face, loaded }) {
    for (let before = -1; before < this.loaded && this.loaded < Math.min(loaded, this.content.total);) {
      before = this.loaded;
      await this.loadMore();
    }
    this.moveTo(this.items.find((item) => item.face.key === face) ?? this.active);
  }

  show(content) {
    this.content = content;
    this.left = content.total;
    this.loaded = content.start + content.faces.length;
    this.skipped = 0;
    this.selected.clear();
    this.list.replaceChildren();
    this.add(content.faces, 0);
    if (content.kind === "pile") this.showPerson();
    this.activate(this.list.firstElementChild);
    this.update();
    if (content.next) this.prepare(content.next.person);
  }

  pile(person) {
    return ask(`/api/faces/pile?name=${encodeURIComponent(person)}`);
  }

  // The pictures of the next pile are here before it is needed; its faces may change until then.
  async prepare(person) {
    try {
      const next = await this.pile(person);
      for (const source of [...next.portraits, ...next.faces.map((face) => face.picture)]) new Image().src = source;
    } catch {
      // It is asked for again when it is needed.
    }
  }

  showPerson() {
    const { shown, portraits, next } = this.content;
    document.title = `${shown}? · FaceOps`;
    all("[data-shown]", this.root).forEach((element) => { element.textContent = shown; });
    this.list.setAttribute("aria-label", `Faces that may be ${shown}`);
    $(".portraits", this.root).replaceChildren(...portraits.map((source) => picture(source, 240)));
    const link = $("[data-next]", this.root);
    link.hidden = !next;
    if (next) $("span", link).textContent = `Next: ${next.shown}, ${faces(next.faces)}`;
  }

  add(some, place) {
    for (const [offset, face] of some.entries()) {
      const said = [face.shown && this.content.kind === "group" ? face.shown : "", face.words].filter((text) => text && text !== this.content.name);
      const file = face.path.split("/").at(-1);
      const item = make("li", {
        className: "face", role: "option", tabIndex: -1, title: face.path,
        "aria-selected": "false", "aria-label": [...said, `in ${file}`, face.note].filter(Boolean).join(", "),
      }, picture(face.picture), make("span", { className: "sure", textContent: said.join(", ") }),
      make("span", { className: "file", textContent: file }));
      item.classList.toggle("doubtful", face.odd);
      item.classList.toggle("settled", face.settled);
      item.face = face;
      item.place = place + offset;
      this.list.append(item);
    }
  }

  get items() {
    return Array.from(this.list.children);
  }

  activate(item) {
    if (!item) return;
    if (this.active) this.active.tabIndex = -1;
    this.active = item;
    item.tabIndex = 0;
    this.describe();
  }

  // What is known about the face that the keys are for.
  describe() {
    const { face } = this.active;
    $("[data-about]", this.root).textContent = face.path;
    $("[data-note]", this.root).textContent = face.note;
    $("[data-note]", this.root).hidden = !face.note;
    $("[data-open=photo]", this.root).href = `/photo/${face.photo}#${face.key}`;
    $("[data-open=why]", this.root).href = `/why/${face.key}`;
    const others = face.candidates.filter((one) => one.person !== this.content.name && !one.refused && one.words !== "unlikely");
    $(".others", this.root).hidden = others.length === 0;
    $(".others div", this.root).replaceChildren(...others.slice(0, 9).map((other, place) => make("button", {
      type: "button", "data-key": String(place + 1), title: other.words, onclick: () => this.confirmAs(other.person, other.shown),
    }, make("kbd", { textContent: String(place + 1) }), `${other.shown} ${percent(other.chance)}`)));
  }

  update() {
    const count = this.selected.size, shown = this.list.childElementCount;
    for (const item of this.list.children) {
      item.setAttribute("aria-selected", String(this.selected.has(item)));
    }
    $("[data-selected]", this.root).textContent = count ? `${faces(count)} selected` : "";
    $("[data-do=selectAll]", this.root).textContent = count && count === shown ? "Select none" : "Select all";
    const whole = $("[data-do=confirmAll]", this.root);
    if (whole) whole.textContent = `Confirm all ${shown.toLocaleString("en")} shown`;
    $("[data-total]", this.root).textContent = faces(this.left);
    all("[name=faces]", this.root).forEach((input) => { input.value = this.left; });
    $(".more", this.root).hidden = this.loaded >= this.content.total;
    for (const part of all(".tools, .actions", this.root)) part.hidden = shown === 0;
    $(".done", this.root).hidden = shown > 0;
  }

  targets() {
    if (this.selected.size) return this.items.filter((item) => this.selected.has(item));
    return this.active?.isConnected ? [this.active] : [];
  }

  // Remove tiles at once; return a function that brings them back.
  take(items) {
    const { content } = this;
    const hadFocus = this.list.contains(document.activeElement) || document.activeElement === document.body;
    const gone = new Set(items);
    let next = items.at(-1).nextElementSibling;
    while (next && gone.has(next)) next = next.nextElementSibling;
    next ??= this.items.filter((item) => !gone.has(item)).at(-1);
    items.forEach((item) => item.remove());
    this.selected.clear();
    this.left -= items.length;
    this.update();
    if (next) this.moveTo(next, hadFocus);
    else this.goOn(hadFocus);
    return () => {
      if (this.content !== content) return address("confirm", content.name);
      for (const item of items) {
        this.list.insertBefore(item, this.items.find((other) => other.place > item.place) ?? null);
      }
      this.left += items.length;
      this.update();
      this.moveTo(items[0], true);
      return "";
    };
  }

  async goOn(focus) {
    const { content } = this;
    if (this.loaded < content.total) return this.loadMore();
    if (content.kind !== "pile" || !content.next) {
      if (focus) $(".done a", this.root)?.focus();
      return;
    }
    try {
      await last;
      let next = await this.pile(content.next.person);
      for (let tries = 0; !next.total && next.next && tries < 10; tries += 1) next = await this.pile(next.next.person);
      if (this.content !== content || this.list.childElementCount) return;
      this.show(next);
      history.pushState(null, "", address("confirm", next.name));
      scrollTo({ top: 0 });
      $("#page").textContent = `Is this ${next.shown}? ${faces(next.total)}`;
      if (focus) this.active?.focus({ preventScroll: true });
    } catch (error) {
      complain(error);
    }
  }

  // Decided faces are no longer in the server's list, so that the next ones moved up; skipped ones are.
  async loadMore() {
    const { kind, name } = this.content;
    await last;
    const staying = this.skipped + this.list.childElementCount;
    try {
      const more = await ask(`/api/faces/${kind}?name=${encodeURIComponent(name)}&start=${staying}`);
      const known = new Set(this.items.map((item) => item.face.key));
      this.add(more.faces.filter((face) => !known.has(face.key)), this.loaded);
      this.loaded = staying + more.faces.length;
      this.content.total = more.total;
      this.left = more.total - this.skipped;
      this.update();
      if (!this.active?.isConnected) this.moveTo(this.list.firstElementChild, true);
    } catch (error) {
      complain(error);
    }
  }

  moveTo(item, focus = true) {
    if (!item) return;
    this.activate(item);
    if (focus) item.focus();
  }

  onKey(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns(), ArrowDown: this.columns() }[event.key];
    const { items } = this, at = items.indexOf(this.active);
    if (event.ctrlKey && event.key === "a") {
      this.selectAll();
    } else if (event.ctrlKey || event.altKey || event.metaKey) {
      return;
    } else if (step || event.key === "Home" || event.key === "End") {
      const to = { Home: 0, End: items.length - 1 }[event.key] ?? Math.max(0, Math.min(items.length - 1, at + step));
      if (event.shiftKey) this.range(to);
      else this.anchor = null;
      this.moveTo(items[to]);
    } else if (event.key === " ") {
      this.toggle(this.active);
    } else if (event.key === "Enter") {
      $("[data-key=y]", this.root)?.click();
    } else if (event.key === "Escape") {
      this.selected.clear();
      this.update();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  columns() {
    const { items } = this;
    const first = items[0]?.offsetTop;
    const width = items.findIndex((item) => item.offsetTop !== first);
    return width < 0 ? items.length : width;
  }

  onClick(event) {
    const item = event.target.closest(".face");
    if (!item) return;
    if (event.shiftKey) this.range(this.items.indexOf(item));
    else this.toggle(item);
    this.moveTo(item);
  }

  toggle(item) {
    if (!this.selected.delete(item)) this.selected.add(item);
    this.anchor = item;
    this.update();
  }

  range(to) {
    const { items } = this;
    if (!this.anchor?.isConnected) this.anchor = this.active;
    const from = items.indexOf(this.anchor);
    items.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((item) => this.selected.add(item));
    this.update();
  }

  selectAll() {
    const whole = this.selected.size === this.list.childElementCount;
    this.selected = new Set(whole ? [] : this.items);
    this.update();
  }

  open(what) {
    $(`[data-open=${what}]`, this.root).click();
  }

  send(decision, items, body, text) {
    if (!items.length) return;
    const keys = items.map((item) => item.face.key);
    decide(decision, { keys, ...body }, text(faces(keys.length)), this.take(items));
  }

  confirm(items = this.targets()) {
    const { kind, name, shown } = this.content;
    if (kind === "person") return this.settle(items);
    this.send("confirm", items, { person: name, listed: true }, (count) => `${count} confirmed as ${shown}`);
  }

  confirmAll() {
    this.confirm(this.items);
  }

  confirmAs(person, shown = person, listed = true) {
    this.send("confirm", this.targets(), { person, listed }, (count) => `${count} confirmed as ${shown}`);
  }

  // On a person's own page a confirmed face stays.
  settle(items) {
    const changed = items.filter((item) => !item.face.settled);
    const mark = (settled) => changed.forEach((item) => {
      item.face.settled = settled;
      item.classList.toggle("settled", settled);
    });
    const next = items.at(-1)?.nextElementSibling;
    if (changed.length) {
      const { name, shown } = this.content, keys = changed.map((item) => item.face.key);
      mark(true);
      decide("confirm", { keys, person: name, listed: true }, `${faces(keys.length)} confirmed as ${shown}`, () => mark(false) ?? "");
    }
    this.selected.clear();
    this.update();
    if (next) this.moveTo(next, this.list.contains(document.activeElement));
  }

  refuse() {
    const { name, shown } = this.content;
    this.send("refuse", this.targets(), { person: name }, (count) => `${count}: not ${shown}`);
  }

  async ignore() {
    const items = this.targets();
    if (!items.length) return;
    const kind = await choose($("#ignore"));
    const said = { stranger: "a stranger", not_a_face: "not a face", never_ask: "never ask" }[kind];
    if (said) this.send("ignore", items, { kind }, (count) => `${count} ignored: ${said}`);
  }

  async someoneElse() {
    const person = await chooseName();
    if (person) this.confirmAs(person, person, false);
  }

  split() {
    this.send("split", this.targets(), {}, (count) => `${count} split off`);
  }

  choosePicture() {
    const item = this.targets()[0];
    if (item) decideAndGo("choose_picture", { person: this.content.name, key: item.face.key });
  }

  skip() {
    const items = this.targets();
    if (!items.length) return;
    this.skipped += items.length;
    const back = this.take(items);
    undoable.push({ text: `${faces(items.length)} skipped`, restore: () => {
      this.skipped -= items.length;
      return back();
    } });
    say(`${faces(items.length)} skipped`, true);
  }
}

// One photo: its faces as boxes, and a box that somebody draws.

class Photo {
  constructor(root, content) {
    this.root = root;
    this.stage = $(".photo", root);
    this.panel = $("#face");
    this.form = $("#drawing");
    this.stage.addEventListener("pointerdown", (event) => this.startDrawing(event));
    root.addEventListener("click", ({ target }) => {
      const button = target.closest("button[data-do]");
      if (button) this[button.dataset.do]();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.saveBox();
    });
    this.show(content);
    const wanted = this.content.faces.find(({ key }) => key === location.hash.slice(1));
    if (wanted) this.choose(wanted);
  }

  place(box, [x, y, width, height]) {
    const [across, down] = this.content.size;
    Object.assign(box.style, {
      left: `${(x / across) * 100}%`, top: `${(y / down) * 100}%`,
      width: `${(width / across) * 100}%`, height: `${(height / down) * 100}%`,
    });
  }

  show(content) {
    this.content = content;
    const [across, down] = content.size;
    this.stage.style.width = `min(100%, (100vh - 8rem) * ${across / down}, ${Math.max(across, 480)}px)`;
    all("button.box", this.stage).forEach((box) => box.remove());
    for (const face of content.faces) {
      const box = make("button", {
        type: "button", className: "box", "aria-pressed": "false", "aria-label": `${face.shown || "no name"}, ${face.words}`,
        onclick: () => this.choose(face),
      });
      if (face.shown) box.append(make("span", { textContent: face.shown }));
      box.classList.toggle("nameless", !face.person);
      box.face = face;
      this.place(box, face.box);
      this.stage.append(box);
    }
    const same = content.faces.find(({ key }) => key === this.chosen?.key) ?? content.faces[0];
    if (same) this.choose(same, false);
    this.panel.hidden = !same;
  }

  choose(face, focus = true) {
    this.chosen = face;
    for (const box of all("button.box", this.stage)) {
      box.setAttribute("aria-pressed", String(box.face.key === face.key));
    }
    $("h2", this.panel).textContent = face.shown || face.unknown || "No name";
    $("[data-about]", this.panel).textContent = face.words === face.unknown ? "no name yet" : face.words;
    const best = face.person || face.candidates.find(({ refused }) => !refused)?.person;
    const shown = face.person ? face.shown : face.candidates.find(({ person }) => person === best)?.shown;
    this.best = { person: best, shown };
    for (const button of all("[data-do=confirm], [data-do=refuse]", this.panel)) button.hidden = !best;
    all("[data-best]", this.panel).forEach((element) => { element.textContent = shown ?? ""; });
    $("[data-open=why]", this.panel).href = `/why/${face.key}`;
    const others = face.candidates.filter((one) => one.person !== best && !one.refused && one.words !== "unlikely");
    $(".others", this.panel).hidden = others.length === 0;
    $(".others div", this.panel).replaceChildren(...others.map((other, place) => make("button", {
      type: "button", "data-key": String(place + 1), title: other.words, onclick: () => this.confirm(other.person, other.shown),
    }, make("kbd", { textContent: String(place + 1) }), `${other.shown} ${percent(other.chance)}`)));
    if (focus) history.replaceState(null, "", `#${face.key}`);
  }

  async send(decision, body, text) {
    const refresh = async () => this.show(await ask(`/api/photo/${this.content.photo}`));
    await decide(decision, body, text, () => "", refresh).then(refresh).catch(() => {});
  }

  confirm(person = this.best.person, shown = this.best.shown, listed = true) {
    this.send("confirm", { keys: [this.chosen.key], person, listed }, `1 face confirmed as ${shown}`);
  }

  refuse() {
    this.send("refuse", { keys: [this.chosen.key], person: this.best.person }, `1 face: not ${this.best.shown}`);
  }

  async ignore() {
    const kind = await choose($("#ignore"));
    if (kind) this.send("ignore", { keys: [this.chosen.key], kind }, "1 face ignored");
  }

  async someoneElse() {
    const person = await chooseName();
    if (person) this.confirm(person, person, false);
  }

  // A box by keyboard begins in the middle; by mouse or touch it is drawn over the photo.
  draw() {
    const [across, down] = this.content.size;
    const side = Math.min(across, down) / 4;
    this.drawn ??= make("div", {
      className: "box drawn", tabIndex: 0, role: "application",
      "aria-label": "New box: arrows move it, Shift and arrows change its size, Enter goes to its name",
      onkeydown: (event) => this.moveBox(event),
    });
    this.setBox([(across - side) / 2, (down - side) / 2, side, side]);
    this.stage.append(this.drawn);
    this.stage.classList.add("drawing");
    this.form.hidden = false;
    this.drawn.focus();
  }

  setBox([x, y, width, height]) {
    const [across, down] = this.content.size;
    const wide = Math.min(Math.max(width, 8), across), high = Math.min(Math.max(height, 8), down);
    this.box = [Math.min(Math.max(x, 0), across - wide), Math.min(Math.max(y, 0), down - high), wide, high];
    this.place(this.drawn, this.box);
  }

  moveBox(event) {
    const [x, y, width, height] = this.box, step = Math.max(...this.content.size) / 100;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      const [across, down] = way.map((sign) => sign * step);
      this.setBox(event.shiftKey ? [x, y, width + across, height + down] : [x + across, y + down, width, height]);
    } else if (event.key === "Enter") {
      $("input", this.form).focus();
    } else if (event.key === "Escape") {
      this.endDrawing();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  startDrawing(event) {
    if (!this.stage.classList.contains("drawing") || event.button) return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    const frame = this.stage.getBoundingClientRect(), [across, down] = this.content.size;
    const at = ({ clientX, clientY }) => [
      ((clientX - frame.left) / frame.width) * across, ((clientY - frame.top) / frame.height) * down,
    ];
    const [x, y] = at(event);
    this.stage.onpointermove = (moved) => {
      const [toX, toY] = at(moved);
      this.setBox([Math.min(x, toX), Math.min(y, toY), Math.abs(toX - x), Math.abs(toY - y)]);
    };
    this.stage.onpointerup = this.stage.onpointercancel = () => {
      this.stage.onpointermove = this.stage.onpointerup = this.stage.onpointercancel = null;
      $("input", this.form).focus();
    };
  }

  endDrawing() {
    this.drawn.remove();
    this.stage.classList.remove("drawing");
    this.form.hidden = true;
    this.form.reset();
    $("[data-do=draw]", this.root).focus();
  }

  saveBox() {
    const person = $("input", this.form).value.trim();
    this.send("draw", { photo_id: this.content.photo, box: this.box, person }, `${person} marked by hand`);
    this.endDrawing();
  }
}

// Single keys press the button or follow the link that shows them.

const keysOff = $("#keys-off");
keysOff.checked = localStorage.getItem("keys") === "off";
keysOff.addEventListener("change", () => localStorage.setItem("keys", keysOff.checked ? "off" : "on"));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || keysOff.checked) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const within = $("dialog[open]") ?? document;
  const inFocus = (one) => !one.closest(".list") || one.closest("li").contains(event.target);
  const control = all(`[data-key="${CSS.escape(event.key)}"]`, within)
    .find((one) => one.checkVisibility() && inFocus(one));
  if (control) {
    event.preventDefault();
    if (control.matches("input")) control.focus();
    else control.click();
  }
});

document.addEventListener("keydown", (event) => {
  const item = event.target.closest?.("li[tabindex]:not(.face)");
  const next = item && { ArrowDown: item.nextElementSibling, ArrowUp: item.previousElementSibling }[event.key];
  if (!next) return;
  event.preventDefault();
  next.focus();
});

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-action]");
  if (!button) return;
  const { action } = button.dataset;
  if (action === "undo") undo();
  if (action === "keys") $("#keys").showModal();
  if (action === "close") button.closest("dialog").close();
  if (action === "publish") {
    button.disabled = true;
    post("publish", {}).then(() => say("Publishing: the results are written anew.")).catch(complain);
  }
});

const said = sessionStorage.getItem("said");
if (said) say(said, !said.startsWith("Undone") && undoable.length > 0);
sessionStorage.removeItem("said");
$(".head [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
all(STOPS)[Number(sessionStorage.getItem("focus") ?? -1)]?.focus();
sessionStorage.removeItem("focus");
window.addEventListener("popstate", () => location.reload());

const data = $("#data");
const kinds = { board: Board, stage: Photo };
for (const [name, Kind] of Object.entries(kinds)) {
  if (data && $(`.${name}`)) {
    const view = new Kind($(`.${name}`), JSON.parse(data.textContent));
    if (name === "board" && location.pathname.startsWith("/confirm")) view.active?.focus({ preventScroll: true });
  }
}
updateStatus();

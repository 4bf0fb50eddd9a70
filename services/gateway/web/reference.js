// The reference page: everything on it comes from /openapi.json, as the reader's key may know it.
import {element} from "./dom.js";
import {errorsPage, eventsPage, resourcesPage, startPage, unitPage} from "./pages.js";
import {Schemas} from "./schema.js";

const find = (id) => document.getElementById(id);
const key = () => sessionStorage.getItem("aima-key") || "";
let reference = null;

// The document in the order in which people look for things.
function read(doc) {
  const units = Object.entries(doc.paths).filter(([, item]) => item["x-aima-unit"])
    .map(([path, item]) => ({...item["x-aima-unit"], path, item})).sort((a, b) => (a.name < b.name ? -1 : 1));
  const names = new Set(units.map((unit) => unit.name));
  const link = (text) => (names.has(text) ? `#unit/${text}` : doc.components.examples[text] ? `#error-${text}` : null);
  const schemas = new Schemas(doc, link);
  const domains = doc.tags.map((tag) => ({...tag, units: units.filter((unit) => unit.item.post.tags[0] === tag.name)}))
    .filter((domain) => domain.units.length);
  for (const unit of units) {
    const post = unit.item.post;
    const input = schemas.resolve(post.requestBody.content["application/json"].schema);
    unit.words = [unit.name, post.description, ...unit.errors, ...Object.keys(input.properties || {})].join(" ").toLowerCase();
  }
  return {document: doc, units, domains, schemas, link, key, problems: doc.components.examples};
}

function drawList() {
  const wanted = find("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (text) => wanted.every((word) => text.includes(word));
  const here = location.hash;
  const entry = (href, text, ...more) => element("li", {}, element("a", {href, "aria-current": here === href ? "page" : null}, text, ...more));
  const groups = reference.domains.map((domain) => {
    const units = domain.units.filter((unit) => fits(unit.words));
    return units.length && element("section", {}, element("h2", {}, domain.name), element("ul", {}, units.map((unit) =>
      entry(`#unit/${unit.name}`, unit.name.split(".")[1], element("span", {class: `dot ${unit.kind}`, title: unit.kind})))));
  }).filter(Boolean);
  const pages = [["#resources", "resources"], ["#events", "events"], ["#errors", "errors"]].filter(([, name]) => fits(name));
  if (pages.length) groups.push(element("section", {}, element("h2", {}, "more"), element("ul", {}, pages.map(([href, name]) => entry(href, name)))));
  find("list").replaceChildren(...(groups.length ? groups : [element("p", {class: "quiet"}, "Nothing fits.")]));
}

function showMenu(open) {
  document.body.classList.toggle("menu", open);
  find("menu").setAttribute("aria-expanded", String(open));
}

function draw() {
  if (!reference) return;
  const address = decodeURIComponent(location.hash.slice(1));
  const unit = address.startsWith("unit/") && reference.units.find((one) => one.name === address.slice(5));
  const pages = {resources: resourcesPage, events: eventsPage, errors: errorsPage};
  const page = address.startsWith("error-") ? errorsPage : pages[address] || startPage;
  find("content").replaceChildren(unit ? unitPage(reference, unit) : page(reference));
  document.title = (unit ? `${unit.name} · ` : "") + "AIMA reference";
  drawList();
  find("list").querySelector("[aria-current]")?.scrollIntoView({block: "nearest"});
  const target = address.startsWith("error-") && find(address);
  if (target) {
    target.classList.add("target");
    target.scrollIntoView({block: "center"});
  } else {
    scrollTo(0, 0);
  }
}

async function load() {
  const headers = key() ? {Authorization: `Bearer ${key()}`} : {};
  let response;
  try {
    response = await fetch("/openapi.json", {headers});
  } catch (error) {
    find("content").replaceChildren(element("p", {}, `The gateway cannot be reached: ${error.message}`));
    return;
  }
  if (!response.ok) {
    const problem = await response.json();
    find("content").replaceChildren(element("h1", {}, "A key is needed"), element("p", {}, problem.detail),
      element("p", {}, element("button", {type: "button", class: "primary", onclick: askForKey}, "Give a key")));
    reference = null;
    return;
  }
  reference = read(await response.json());
  find("version").textContent = reference.document.info.version;
  find("key").textContent = key() ? `Key: ${reference.document["x-aima-role"]}` : "Key";
  draw();
}

function askForKey() {
  find("key-text").value = key();
  find("key-dialog").showModal();
}

find("key").addEventListener("click", askForKey);
find("key-dialog").addEventListener("close", () => {
  const chosen = find("key-dialog").returnValue;
  if (chosen !== "use" && chosen !== "forget") return;
  const text = chosen === "use" ? find("key-text").value.trim() : "";
  if (text) sessionStorage.setItem("aima-key", text);
  else sessionStorage.removeItem("aima-key");
  load();
});
find("menu").addEventListener("click", () => showMenu(!document.body.classList.contains("menu")));
find("search").addEventListener("input", () => reference && drawList());
addEventListener("hashchange", () => {
  if (location.hash === "#content") return;  // the skip link
  showMenu(false);
  draw();
});
addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    showMenu(true);
    find("search").select();
    return;
  }
  if (event.key === "Escape") {
    if (document.activeElement === find("search")) {
      find("search").value = "";
      if (reference) drawList();
    }
    showMenu(false);
  }
  // From the search into the list and along it.
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && find("sidebar").contains(document.activeElement)) {
    const stops = [find("search"), ...find("list").querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }
  if (event.key === "Enter" && document.activeElement === find("search")) find("list").querySelector("a")?.click();
});
load();

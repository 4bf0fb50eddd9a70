// Calls a unit with what the reader typed, and shows the answer and how to do the same with curl.
import {copyButton, element, json} from "./dom.js";

const kLongestLog = 400;  // messages of a stream that are kept in sight

function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; }

// `unit` is {path, method, examples: [{title, text}], streaming, only}; `key` returns the reader's key.
export function callPanel(unit, key) {
  const input = element("textarea", {rows: 5, spellcheck: "false", "aria-label": "Input as JSON"});
  const stream = element("input", {type: "checkbox", checked: unit.only, disabled: unit.only});
  const later = element("input", {type: "checkbox"});
  const curl = element("code", {});
  const answer = element("div", {class: "answer", "aria-live": "polite"});
  const send = element("button", {type: "button", class: "primary"}, "Call");
  const stop = element("button", {type: "button", hidden: true}, "Stop");
  let running = null;

  const headers = () => {
    const list = {"Content-Type": "application/json"};
    if (stream.checked) list.Accept = "application/x-ndjson";
    if (later.checked) list.Prefer = "respond-async";
    return list;
  };
  const body = () => input.value.trim() || "{}";
  const refresh = () => {
    let compact = body();
    try { JSON.parse(compact); compact = compact.replace(/\n\s*/g, " "); } catch { /* shown as it is until it is JSON */ }
    const parts = [`curl ${stream.checked ? "-N " : ""}${quoted(location.origin + unit.path)}`];
    if (key()) parts.push('-H "Authorization: Bearer $AIMA_KEY"');
    for (const [name, value] of Object.entries(headers())) parts.push(`-H ${quoted(`${name}: ${value}`)}`);
    parts.push(`-d ${quoted(compact)}`);
    curl.textContent = parts.join(" \\\n  ");
    input.rows = Math.min(18, Math.max(3, input.value.split("\n").length));
  };
  const show = (...parts) => answer.replaceChildren(...parts);
  const statusLine = (response, began) => element("p", {class: "status"},
    element("span", {class: response.ok ? "badge good" : "badge bad"}, `${response.status} ${response.statusText}`),
    element("span", {class: "quiet"}, ` ${Math.round(performance.now() - began)} ms  ${response.headers.get("x-request-id") || ""}`));

  const follow = async (response, began) => {
    const log = element("pre", {tabindex: "0"});
    show(statusLine(response, began), log);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) log.append(json(line), "\n");
      while (log.childNodes.length > 2 * kLongestLog) log.firstChild.remove();
      log.scrollTop = log.scrollHeight;
    }
  };
  const start = async () => {
    if (running) return;
    try { JSON.parse(body()); } catch (error) {
      show(element("p", {class: "status"}, element("span", {class: "badge bad"}, "Not JSON"), ` ${error.message}`));
      input.focus();
      return;
    }
    running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    show(element("p", {class: "quiet"}, "Waiting for the answer …"));
    const began = performance.now();
    try {
      const sent = headers();
      if (key()) sent.Authorization = `Bearer ${key()}`;
      const response = await fetch(unit.path, {method: "POST", headers: sent, body: body(), signal: running.signal});
      if ((response.headers.get("content-type") || "").includes("ndjson")) {
        await follow(response, began);
      } else {
        show(statusLine(response, began), element("pre", {tabindex: "0"}, json(await response.text())));
      }
    } catch (error) {
      const text = error.name === "AbortError" ? "Stopped." : `The gateway cannot be reached: ${error.message}`;
      if (answer.querySelector("pre")) answer.append(element("p", {class: "quiet"}, text));
      else show(element("p", {}, text));
    }
    running = null;
    send.disabled = false;
    stop.hidden = true;
  };
  send.addEventListener("click", start);
  stop.addEventListener("click", () => running?.abort());
  for (const control of [stream, later]) control.addEventListener("change", refresh);
  input.addEventListener("input", refresh);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
  });
  const choose = (example) => { input.value = example.text; refresh(); };
  const examples = unit.examples.length ? unit.examples : [{title: "Nothing given", text: "{}"}];
  choose(examples[0]);
  return element("section", {class: "call"},
    element("h2", {}, "Try it"),
    element("div", {class: "row wrap"}, examples.map((example) =>
      element("button", {type: "button", class: "chip", onclick: () => choose(example)}, example.title))),
    input,
    element("div", {class: "row wrap"}, send, stop,
      unit.streaming && element("label", {}, stream, " as a stream"),
      !unit.only && element("label", {}, later, " do not wait"),
      element("span", {class: "quiet wide"}, "Ctrl+Enter")),
    element("div", {class: "curl"}, element("pre", {tabindex: "0"}, curl), copyButton(() => curl.textContent)),
    answer);
}

// What the reader sees for each address of the page.
import {callPanel} from "./call.js";
import {copyButton, element, json, prose, words} from "./dom.js";

// `reference` is what reference.js makes of the document.

function badges(unit) {
  return element("p", {class: "badges"},
    element("span", {class: `badge ${unit.kind}`}, unit.kind),
    element("span", {class: "badge"}, unit.access === "admin" ? "needs a key of role admin" : `role ${unit.access}`),
    unit.streaming && element("span", {class: "badge"}, unit.streaming_only ? "streams" : "can stream"),
    unit.kind === "command" && unit.idempotent && element("span", {class: "badge"}, "may be repeated"),
    element("span", {class: "badge"}, `deadline ${duration(unit.timeout_ms)}`));
}

function duration(ms) {
  const units = [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]];
  const [size, name] = units.find(([size]) => ms >= size && ms % size === 0) || [1, "ms"];
  return `${ms / size} ${name}`;
}

export function startPage(reference) {
  const {document: doc} = reference;
  const first = reference.units.find((unit) => unit.name === "device.info") || reference.units[0];
  const line = `curl ${location.origin}/api/v2/query/${first?.name}`;
  return element("article", {},
    element("h1", {}, "What this cluster can do"),
    element("p", {class: "lead"}, `${reference.units.length} units, as a caller of the role `, element("code", {}, doc["x-aima-role"]), " sees them."),
    prose(doc.info.description, reference.link),
    element("div", {class: "curl"}, element("pre", {tabindex: "0"}, element("code", {}, line)), copyButton(() => line)),
    element("div", {class: "cards"}, reference.domains.map((domain) => element("section", {class: "card"},
      element("h2", {}, domain.name),
      element("p", {}, words(domain.description.split(/(?<=\.) |\n/)[0], reference.link)),
      element("ul", {}, domain.units.map((unit) => element("li", {}, element("a", {href: `#unit/${unit.name}`}, unit.name.split(".")[1]))))))),
    element("p", {}, "See also ", element("a", {href: "#resources"}, "resources"), ", ", element("a", {href: "#events"}, "events"), ", ",
      element("a", {href: "#errors"}, "errors"), " and ", element("a", {href: "/openapi.json"}, "this document for programs"), "."));
}

export function unitPage(reference, unit) {
  const post = unit.item.post;
  const content = post.requestBody.content["application/json"];
  const answers = post.responses["200"].content;
  const whole = answers["application/json"]?.schema.properties.data;
  const stream = answers["text/event-stream"]?.schema;
  const examples = Object.values(content.examples || {}).map((example) => ({title: example.summary, text: JSON.stringify(example.value, null, 2)}));
  const doc = [
    element("h1", {}, element("code", {}, unit.name)),
    badges(unit),
    prose(post.description.split("\n\nWith `Accept")[0].split("\n\nAnswers with a stream")[0], reference.link),
    element("p", {class: "address"}, element("code", {}, `POST ${unit.path}`), unit.item.get && element("code", {}, `GET ${unit.path}?…`),
      unit.resources.map((uri) => element("code", {}, uri))),
    element("p", {class: "address"}, element("code", {}, `aima exec ${unit.name}`), element("code", {}, unit.rpc)),
  ];
  const call = callPanel({path: unit.path, examples, streaming: unit.streaming, only: unit.streaming_only}, reference.key);
  return element("article", {class: "unit"}, doc, call,
    element("h2", {}, "Input"), reference.schemas.fields(content.schema),
    whole && [element("h2", {}, "Answer"), reference.schemas.fields(whole)],
    stream && [element("h2", {}, "Each message of the stream"), reference.schemas.fields(stream)],
    element("h2", {}, "Errors"),
    unit.errors.length ? errorTable(reference, unit.errors) : element("p", {class: "quiet"}, "None of its own."),
    element("p", {class: "quiet"}, "Besides those that ", element("a", {href: "#errors"}, "any unit"), " may give."));
}

function errorTable(reference, names) {
  return element("div", {class: "scroll"}, element("table", {},
    element("thead", {}, element("tr", {}, ["Reason", "HTTP", "Meaning", "What to do"].map((text) => element("th", {scope: "col"}, text)))),
    element("tbody", {}, names.map((name) => {
      const problem = reference.problems[name];
      return problem && element("tr", {id: `error-${name}`},
        element("td", {}, element("code", {}, name), problem.value.error.details.retryable && element("span", {class: "badge"}, "retry")),
        element("td", {}, String(problem.value.status)),
        element("td", {}, words(problem.summary, reference.link)),
        element("td", {}, words(problem.value.error.details.remedy, reference.link)));
    }))));
}

export function errorsPage(reference) {
  const example = reference.problems.INVALID_INPUT?.value;
  return element("article", {},
    element("h1", {}, "Errors"),
    element("p", {}, "An error is a declared reason with an HTTP status that fits. It comes as problem details (RFC 9457) with the members ",
      element("code", {}, "success"), ", ", element("code", {}, "error"), " and ", element("code", {}, "meta"), ":"),
    example && element("pre", {tabindex: "0"}, json(JSON.stringify(example))),
    errorTable(reference, Object.keys(reference.problems).sort()));
}

export function resourcesPage(reference) {
  const views = reference.units.flatMap((unit) => unit.resources.map((uri) => ({uri, unit})));
  return element("article", {},
    element("h1", {}, "Resources"),
    element("p", {}, "A resource is the answer of a query at an address: ", element("code", {}, "GET /api/v2/resource/…"),
      " reads it, with ", element("code", {}, "/watch"), " behind it the answer is a stream that tells each change."),
    element("div", {class: "scroll"}, element("table", {},
      element("thead", {}, element("tr", {}, ["Address", "Unit"].map((text) => element("th", {scope: "col"}, text)))),
      element("tbody", {}, views.map(({uri, unit}) => element("tr", {}, element("td", {}, element("code", {}, uri)),
        element("td", {}, element("a", {href: `#unit/${unit.name}`}, unit.name))))))));
}

export function eventsPage(reference) {
  return element("article", {},
    element("h1", {}, "Events"),
    element("p", {}, "What happens is told in one ordered log: ", element("a", {href: "#unit/event.subscribe"}, "event.subscribe"), " follows it, ",
      element("a", {href: "#unit/event.query"}, "event.query"), " reads what was."),
    reference.document["x-aima-events"].map((event) => element("section", {class: "event"},
      element("h2", {}, element("code", {}, event.type)), prose(event.description, reference.link), reference.schemas.fields(event.schema))));
}

// Elements, a little markdown, and JSON for people. Nothing here makes markup of text.

// An element: element("p", {class: "quiet", onclick: f}, "text", child, …).
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// Paragraphs of `code`, *emphasis* and plain text. `link` may make an address of what is in backticks.
export function prose(text, link = () => null) {
  return (text || "").split(/\n+/).filter(Boolean).map((paragraph) => element("p", {}, words(paragraph, link)));
}

export function words(text, link = () => null) {
  return (text || "").split(/(`[^`]+`|\*[^*\s][^*]*\*)/).map((piece) => {
    if (piece.length > 2 && piece.startsWith("`")) {
      const inner = piece.slice(1, -1);
      const code = element("code", {}, inner);
      const address = link(inner);
      return address ? element("a", {href: address}, code) : code;
    }
    if (piece.length > 2 && piece.startsWith("*")) return element("em", {}, piece.slice(1, -1));
    return piece;
  });
}

// JSON text with indents and colours. Works on the text, since JavaScript would round large numbers.
export function json(text) {
  const out = element("code", {class: "json"});
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) || [];
  let depth = 0;
  const line = () => "\n" + "  ".repeat(depth);
  tokens.forEach((token, i) => {
    const next = tokens[i + 1];
    if (token === "{" || token === "[") {
      depth++;
      out.append(token, next === "}" || next === "]" ? "" : line());
    } else if (token === "}" || token === "]") {
      depth--;
      out.append(tokens[i - 1] === "{" || tokens[i - 1] === "[" ? "" : line(), token);
    } else if (token === ",") {
      out.append(",", line());
    } else if (token === ":") {
      out.append(": ");
    } else {
      const kind = next === ":" ? "name" : token[0] === '"' ? "text" : /^[-\d]/.test(token) ? "number" : "word";
      out.append(element("span", {class: kind}, token));
    }
  });
  return out;
}

// A button that copies.
export function copyButton(text) {
  const button = element("button", {type: "button", class: "copy", onclick: async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }}, "Copy");
  return button;
}

// Schemas as lists of fields.
import {element, words} from "./dom.js";

export class Schemas {
  constructor(document, link) {
    this.document = document;
    this.link = link;
  }

  // What a {"$ref": "#/…"} stands for; what is beside the reference stays.
  resolve(schema) {
    if (!schema?.$ref) return schema || {};
    let found = this.document;
    for (const part of schema.$ref.slice(2).split("/")) found = found?.[part.replaceAll("~1", "/").replaceAll("~0", "~")];
    const {$ref: _, ...beside} = schema;
    return {...found, ...beside};
  }

  // "list of model.Model", "integer", "text, one of …".
  typeOf(schema) {
    if (schema.$ref) return schema.$ref.split("/").pop().replace(/\.Input$/, "");
    if (schema.type === "array") return "list of " + this.typeOf(schema.items || {});
    if (Array.isArray(schema.type) && schema.type.includes("array")) return "one or a list of " + this.typeOf(schema.items || {});
    if (schema.type === "object" && schema.additionalProperties?.type) return "map of " + this.typeOf(schema.additionalProperties);
    if (schema.type === "object" && schema.additionalProperties?.$ref) return "map of " + this.typeOf(schema.additionalProperties);
    const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any value";
    return type.replaceAll("string", schema.format === "date-time" ? "time" : "text").replace("boolean", "true or false");
  }

  limits(schema) {
    const inner = schema.items && !schema.items.$ref ? {...schema.items, ...schema} : schema;
    const texts = [];
    const choices = schema.enum || schema.items?.enum;
    if (choices) texts.push(element("span", {}, "one of ", choices.flatMap((choice, i) => [i ? ", " : "", element("code", {}, String(choice))])));
    if (inner.minimum !== undefined && inner.maximum !== undefined) texts.push(`${inner.minimum} to ${inner.maximum}`);
    else if (inner.minimum !== undefined) texts.push(`at least ${inner.minimum}`);
    else if (inner.maximum !== undefined) texts.push(`at most ${inner.maximum}`);
    if (inner.minLength !== undefined) texts.push(`at least ${inner.minLength} bytes`);
    if (inner.maxLength !== undefined) texts.push(`at most ${inner.maxLength} bytes`);
    if (inner.minItems !== undefined) texts.push(`at least ${inner.minItems} entries`);
    if (inner.maxItems !== undefined) texts.push(`at most ${inner.maxItems} entries`);
    // Of a number that may be text, the description says how the text is.
    if (inner.pattern && !Array.isArray(schema.type)) texts.push(element("span", {}, "matches ", element("code", {}, inner.pattern)));
    if (inner.contentEncoding) texts.push(inner.contentEncoding);
    if (schema.default !== undefined) texts.push(element("span", {}, "default ", element("code", {}, JSON.stringify(schema.default))));
    return texts.flatMap((text, i) => [i ? " · " : "", text]);
  }

  // The message behind a field, if it is one.
  inner(schema) {
    const candidate = schema.items || (typeof schema.additionalProperties === "object" ? schema.additionalProperties : schema);
    const resolved = this.resolve(candidate);
    return resolved.properties ? resolved : null;
  }

  // A list of the fields of a message; messages inside are made when they are opened.
  fields(schema) {
    const message = this.resolve(schema);
    const names = Object.keys(message.properties || {});
    if (!names.length) return element("p", {class: "quiet"}, "Nothing.");
    const required = new Set(message.required || []);
    return element("div", {class: "fields"}, names.map((name) => {
      const field = message.properties[name];
      const resolved = this.resolve(field);
      const limits = this.limits(field);
      const inside = this.inner(field);
      return element("div", {class: "field"},
        element("div", {class: "head"}, element("code", {class: "name"}, name), element("span", {class: "type"}, this.typeOf(field)),
          required.has(name) && message.additionalProperties === false && element("span", {class: "badge required"}, "required"),
          field.writeOnly && element("span", {class: "badge"}, "secret")),
        (field.description || resolved.description) && element("div", {class: "about"}, words(field.description || resolved.description, this.link)),
        limits.length > 0 && element("div", {class: "limits"}, limits),
        inside && this.foldedFields(inside));
    }));
  }

  foldedFields(message) {
    const details = element("details", {}, element("summary", {}, `${Object.keys(message.properties).length} fields`));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) details.append(this.fields(message));
    });
    return details;
  }
}

// What is shown is changed in place, so that focus and selection survive the next second.

/** make builds an element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

/** say sets the text of an element, if it is another one. */
export function say(e, text) {
  const t = String(text);
  if (e.textContent !== t) e.textContent = t;
}

/** mark sets an attribute, if it is another one; null removes it. */
export function mark(e, name, value) {
  if (value === null) e.removeAttribute(name);
  else if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value);
}

/** bar is a thin bar; its method fill takes a part of 1. */
export function bar() {
  const inner = make("span");
  const outer = make("span", { class: "bar", "aria-hidden": "true" }, inner);
  const fill = (part) => {
    inner.style.width = `${(100 * Math.min(1, Math.max(0, part || 0))).toFixed(1)}%`;
    inner.style.minWidth = part > 0 ? "2px" : ""; // the least is still to be seen
  };
  return { outer, fill };
}

/** twoLines is a cell with a main text and a quieter one below. */
export function twoLines(cell) {
  const main = make("span");
  const sub = make("span", { class: "sub" });
  cell.append(main, sub);
  return { main, sub };
}

/**
 * Table shows a list of items. A column is {label, long, kind, cell}: long is the label where it stands
 * alone; cell is called once a row with the empty cell, and returns what brings it up to date for an item.
 * The first column names the row. empty, if given, is what a table without rows says.
 */
export class Table {
  constructor(table, columns, key, empty = "") {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    const head = make("tr", { role: "row" });
    for (const c of columns) head.append(make("th", { role: "columnheader", scope: "col", class: c.kind ?? "" }, c.label));
    this.body = make("tbody", { role: "rowgroup" });
    table.append(make("thead", { role: "rowgroup" }, head), this.body);
    this.empty = make("tr", { role: "row" }, make("td", { role: "cell", colspan: columns.length }, empty));
  }

  /** show makes the rows those of items, in their order. each, if given, is called with row and item. */
  show(items, each) {
    const gone = new Set(this.rows.keys());
    let before = null;
    for (const item of items) {
      const key = this.key(item);
      gone.delete(key);
      if (!this.rows.has(key)) this.rows.set(key, this.build());
      const { row, updates } = this.rows.get(key);
      for (const update of updates) update(item);
      each?.(row, item);
      const place = before ? before.nextSibling : this.body.firstChild;
      if (row !== place) this.body.insertBefore(row, place);
      before = row;
    }
    for (const key of gone) {
      this.rows.get(key).row.remove();
      this.rows.delete(key);
    }
    if (items.length > 0) this.empty.remove();
    else if (this.empty.textContent) this.body.append(this.empty);
  }

  build() {
    const row = make("tr", { role: "row" });
    const updates = this.columns.map((c, i) => {
      const attributes = { class: c.kind ?? "" };
      const cell = i === 0
        ? make("th", { ...attributes, role: "rowheader", scope: "row" })
        : make("td", { ...attributes, role: "cell", ...(c.kind === "action" ? {} : { "data-label": c.long ?? c.label }) });
      row.append(cell);
      return c.cell(cell);
    });
    return { row, updates };
  }
}

/** text is a cell with nothing but a text made from the item. */
export const text = (of) => (cell) => (item) => say(cell, of(item));

/** Figures shows named numbers in a list of terms. A figure is [label, text, bad]. */
export class Figures {
  constructor(list) {
    this.list = list;
    this.entries = new Map();
  }

  show(figures) {
    for (const [label, value, { small = "", bad = false } = {}] of figures) {
      if (!this.entries.has(label)) {
        const main = make("span");
        const rest = make("small");
        const entry = make("div", {}, make("dt", {}, label), make("dd", {}, main, rest));
        this.list.append(entry);
        this.entries.set(label, { entry, main, rest });
      }
      const { entry, main, rest } = this.entries.get(label);
      say(main, value);
      say(rest, small && ` ${small}`);
      mark(entry, "data-bad", bad ? "true" : null);
    }
  }
}

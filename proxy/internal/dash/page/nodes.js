// The table of the nodes.

import { run } from "./actions.js";
import { Table, bar, make, mark, say, text, twoLines } from "./dom.js";
import { between, bytes, count, duration, micros, none, percent, rate } from "./format.js";

/** nodeKey tells nodes apart: one that moved is at two addresses for a while. */
export const nodeKey = (n) => `${n.name} ${n.address}`;

/** seriesColour is the colour of the i-th node, in table and charts. */
export const seriesColour = (i) => `var(--s${i % 8})`;

let now = ""; // the server's time
let clients = 0; // of all nodes

function nameCell(cell) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  const name = make("b");
  const address = make("span", { class: "sub" });
  cell.append(swatch, name, address);
  return (n) => {
    say(name, n.name);
    say(address, n.address);
  };
}

/** why is what there is to say about a node's state, transport by transport where they differ. */
function why(n) {
  if (n.leaving) return ", no longer configured";
  if (n.state === "degraded") {
    return `: ${n.transports.filter((t) => t.state !== "up").map((t) => `${t.state} over ${t.name}${t.check.error ? ` (${t.check.error})` : ""}`).join(", ")}`;
  }
  if (!n.check.ok && n.state !== "up") return `: ${n.check.error ?? ""}`;
  const told = n.check.advice || n.note;
  return told ? `, ${told}` : "";
}

function stateCell(cell) {
  const { main, sub } = twoLines(cell);
  main.className = "state";
  return (n) => {
    say(main, n.state);
    mark(main, "data-state", n.state);
    say(sub, `for ${duration(between(n.since, now))}${why(n)}`);
  };
}

function connectionsCell(cell) {
  const { main, sub } = twoLines(cell);
  const load = bar();
  cell.append(load.outer);
  return (n) => {
    say(main, count(n.connections));
    say(sub, percent(n.connections, clients));
    load.fill(n.connections / n.max_connections);
    mark(cell, "title", `${count(n.connections)} of ${count(clients)}, at most ${count(n.max_connections)}, ${count(n.total)} since the start`);
  };
}

function errorsCell(cell) {
  const { main, sub } = twoLines(cell);
  return (n) => {
    say(main, count(n.connect_errors + n.resets));
    mark(main, "class", n.rates.errors_per_s > 0 ? "bad" : "");
    const parts = [[n.connect_errors, "connect"], [n.resets, "reset"], [n.displaced, "displaced"]];
    say(sub, parts.filter(([k]) => k > 0).map(([k, what]) => `${count(k)}\u00a0${what}`).join(", "));
  };
}

function weightCell(cell) {
  const { main, sub } = twoLines(cell);
  return (n) => {
    const slow = n.state === "up" && n.weight < n.full_weight;
    say(main, slow ? `${n.weight.toFixed(2)} of ${n.full_weight}` : n.full_weight);
    say(sub, slow ? "slow start" : "");
  };
}

function checkCell(cell) {
  const { main, sub } = twoLines(cell);
  return (n) => {
    say(main, n.check.ok ? micros(n.check.latency_us) : n.check.cause || none);
    mark(main, "class", n.check.ok ? "" : "bad");
    say(sub, n.check.kind);
  };
}

function actionCell(cell) {
  const button = make("button", { type: "button" });
  cell.append(button);
  let node = null;
  const drained = () => node.state === "draining" || node.state === "maintenance";
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    const action = drained() ? "enable" : "drain";
    mark(button, "aria-disabled", "true");
    await run(`/api/nodes/${encodeURIComponent(node.name)}/${action}`, undefined, (n) =>
      action === "drain" ? `${n.name} takes no new clients; ${count(n.connections)} are left.` : `${n.name} is in service again and ${n.state}.`);
    mark(button, "aria-disabled", null);
  });
  return (n) => {
    node = n;
    button.hidden = Boolean(n.leaving);
    const label = drained() ? "Enable" : "Drain";
    say(button, label);
    mark(button, "aria-label", `${label} ${n.name}`);
  };
}

/** requestsCell tells of HTTP: how many a second, and which of them fail. */
function requestsCell(cell) {
  const { main, sub } = twoLines(cell);
  return (n) => {
    say(main, rate(n.rates.requests_per_s));
    const parts = [[n.rates.client_errors_per_s, "4xx/s"], [n.rates.server_errors_per_s, "5xx/s"]];
    say(sub, parts.filter(([k]) => k > 0).map(([k, what]) => `${rate(k)}\u00a0${what}`).join(", "));
    mark(main, "class", n.rates.server_errors_per_s > 0 ? "bad" : "");
    const r = n.responses;
    mark(cell, "title", `${count(n.requests)} since the start; ${count(r["2xx"])} 2xx, ${count(r["3xx"])} 3xx, ${count(r["4xx"])} 4xx, ${count(r["5xx"])} 5xx`);
  };
}

/** answerCell is the median time to the head of an answer, and the 99th percentile below. */
function answerCell(cell) {
  const { main, sub } = twoLines(cell);
  return (n) => {
    const known = n.latency.count > 0;
    say(main, known ? micros(n.latency.p50_us) : none);
    say(sub, known ? `p99 ${micros(n.latency.p99_us)}` : "");
  };
}

const quantile = (q) => text((n) => (n.connect.count > 0 ? micros(n.connect[q]) : none));

/** nodeTable returns what shows a snapshot. */
export function nodeTable(table) {
  const rows = new Table(table, [
    { label: "Node", cell: nameCell },
    { label: "State", cell: stateCell },
    { label: "Connections", kind: "num", cell: connectionsCell },
    { label: "New/s", kind: "num", cell: text((n) => rate(n.rates.connections_per_s)) },
    { label: "Messages/s", kind: "num", cell: text((n) => rate(n.rates.messages_per_s)) },
    { label: "HTTP/s", kind: "num", cell: requestsCell },
    { label: "Answer p50", kind: "num", cell: answerCell },
    { label: "In/s", kind: "num", cell: text((n) => bytes(n.rates.bytes_in_per_s)) },
    { label: "Out/s", kind: "num", cell: text((n) => bytes(n.rates.bytes_out_per_s)) },
    { label: "Connect p50", kind: "num", cell: quantile("p50_us") },
    { label: "p90", long: "Connect p90", kind: "num", cell: quantile("p90_us") },
    { label: "p99", long: "Connect p99", kind: "num", cell: quantile("p99_us") },
    { label: "Errors", kind: "num", cell: errorsCell },
    { label: "Weight", kind: "num", cell: weightCell },
    { label: "Check", kind: "num", cell: checkCell },
    { label: "Action", kind: "action", cell: actionCell },
  ], nodeKey);
  return (s) => {
    now = s.time;
    clients = s.nodes.reduce((sum, n) => sum + n.connections, 0);
    let i = 0;
    rows.show(s.nodes, (row, n) => {
      mark(row, "data-state", n.state);
      row.style.setProperty("--series", seriesColour(i++));
    });
  };
}

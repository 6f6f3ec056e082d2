// Everything but nodes and charts.

import { run } from "./actions.js";
import { Figures, Table, bar, make, mark, say, text, twoLines } from "./dom.js";
import { between, bytes, count, duration, micros, none, rate } from "./format.js";

const $ = (id) => document.getElementById(id);

/** whole is the state of everything: of the balancer, and while it runs, of the nodes that are meant to serve. */
export function whole(s) {
  if (s.state !== "running") return s.state;
  const meant = s.nodes.filter((n) => !n.leaving && n.state !== "maintenance");
  const up = meant.filter((n) => n.state === "up" || n.state === "draining");
  if (up.length === meant.length && meant.length > 0) return "running";
  return up.length > 0 || meant.some((n) => n.state === "degraded") ? "degraded" : "down";
}

/** headline shows what the balancer is, and the title of the page. */
export function headline(s) {
  say($("state"), s.state);
  mark($("state"), "data-state", whole(s));
  mark($("live"), "data-state", whole(s));
  say($("facts"), `up ${duration(s.uptime_s)} · pid ${s.pid} · ${s.version}`);
  const up = s.nodes.filter((n) => n.state === "up").length;
  document.title = `${up}/${s.nodes.length} up, ${count(s.connections.active)} clients – erlmcp`;
}

/** totals returns what shows the numbers of the whole. */
export function totals(list) {
  const figures = new Figures(list);
  return (s) => {
    const up = s.nodes.filter((n) => n.state === "up").length;
    figures.show([
      ["Clients", count(s.connections.active), { small: `of ${count(s.connections.max)}` }],
      ["Nodes up", up, { small: `of ${s.nodes.length}`, bad: s.nodes.some((n) => (n.state === "down" || n.state === "degraded") && !n.leaving) }],
      ["New clients", rate(s.rates.connections_per_s), { small: "/s" }],
      ["Messages", rate(s.rates.messages_per_s), { small: "/s" }],
      ["HTTP requests", rate(s.rates.requests_per_s), { small: "/s" }],
      ["HTTP 5xx", rate(s.rates.server_errors_per_s), { small: "/s", bad: s.rates.server_errors_per_s > 0 }],
      ["In", bytes(s.rates.bytes_in_per_s), { small: "/s" }],
      ["Out", bytes(s.rates.bytes_out_per_s), { small: "/s" }],
      ["Errors", rate(s.rates.errors_per_s), { small: "/s", bad: s.rates.errors_per_s > 0 }],
      ["Refused", rate(s.rates.refused_per_s), { small: "/s", bad: s.rates.refused_per_s > 0 }],
      ["Banned", count(s.sources.banned)],
    ]);
  };
}

/** Why single HTTP requests were refused: shown once it has happened. */
const requestReasons = [
  ["message_rate", "HTTP: over the rate"],
  ["bad_request", "HTTP: malformed"],
  ["too_large", "HTTP: too large"],
  ["slow", "HTTP: too slow"],
  ["session_gone", "HTTP: session gone"],
  ["bad_reply", "HTTP: bad answer"],
  ["node_lost", "HTTP: node lost"],
  ["node_timeout", "HTTP: no answer"],
  ["node_down", "HTTP: node went down"],
  ["drain", "HTTP: balancer stopped"],
];

/** Why what was under way ended before its end: likewise. */
const cutReasons = [
  ["drain", "Cut: draining"],
  ["idle", "Cut: idle"],
  ["untaken", "Cut: client takes nothing"],
  ["node_down", "Cut: node down"],
  ["node_lost", "Cut: node lost"],
  ["bad_reply", "Cut: bad answer"],
  ["client_gone", "Cut: client gone"],
  ["gave_way", "Cut: gave way to others"],
  ["bad_request", "Cut: malformed"],
  ["too_large", "Cut: too large"],
];

/** limits returns what shows who was turned away or slowed down. */
export function limits(list) {
  const figures = new Figures(list);
  return (s) => figures.show([
    ["Banned", count(s.refused.ban)],
    ["Over the rate", count(s.refused.rate)],
    ["Too many of one", count(s.refused.per_source)],
    ["Full", count(s.refused.full)],
    ["No node up", count(s.refused.no_node)],
    ["Worker full", count(s.refused.worker_full)],
    ...requestReasons.filter(([reason]) => s.refused[reason] > 0).map(([reason, label]) => [label, count(s.refused[reason])]),
    ...cutReasons.filter(([reason]) => s.cut[reason] > 0).map(([reason, label]) => [label, count(s.cut[reason])]),
    ["Throttled", count(s.throttles), { small: s.throttled_s >= 1 ? `for ${duration(s.throttled_s)}` : "" }],
    ["Messages rejected", count(s.rejects)],
    ...(s.access_log_dropped > 0 ? [["Log lines dropped", count(s.access_log_dropped), { bad: true }]] : []),
    ["Addresses known", count(s.sources.tracked), { small: `of ${count(s.sources.capacity)}` }],
  ]);
}

/** nodeFile returns what tells of a file of nodes that cannot be taken. */
export function nodeFile(paragraph) {
  return (s) => {
    const wrong = s.nodes_from?.error ?? "";
    say(paragraph, wrong && `The file of nodes is not taken, those of before stay: ${wrong}`);
    mark(paragraph, "data-wrong", wrong ? "yes" : "no");
  };
}

function workerClients(cell) {
  const main = make("span");
  const load = bar();
  cell.append(main, load.outer);
  return (w) => {
    say(main, `${count(w.active)} of ${count(w.max)}`);
    load.fill(w.active / w.max);
  };
}

/** workers returns what shows the worker processes. */
export function workers(table) {
  const rows = new Table(table, [
    { label: "Worker", cell: text((w) => w.index) },
    { label: "Pid", kind: "num", cell: text((w) => w.pid || none) },
    { label: "Clients", kind: "num", cell: workerClients },
    { label: "Accepted", kind: "num", cell: text((w) => count(w.accepted)) },
    { label: "Messages", kind: "num", cell: text((w) => count(w.messages)) },
    { label: "Memory", kind: "num", cell: text((w) => (w.rss_bytes ? bytes(w.rss_bytes) : none)) },
    { label: "Loop lag", kind: "num", cell: text((w) => micros(Math.max(0, w.loop_lag_us))) },
    { label: "Restarts", kind: "num", cell: text((w) => count(w.restarts)) },
  ], (w) => w.index);
  return (s) => rows.show(s.workers);
}

/** listeners returns what shows the addresses listened on, and the last reload. */
export function listeners(table) {
  const state = (cell) => {
    cell.append(make("span", { class: "state" }));
    return (l) => {
      say(cell.firstChild, l.up ? "up" : "draining");
      mark(cell.firstChild, "data-state", l.up ? "up" : "draining");
    };
  };
  const rows = new Table(table, [
    { label: "Listener", cell: text((l) => l.name) },
    { label: "Address", cell: text((l) => l.address) },
    { label: "State", cell: state },
  ], (l) => `${l.name} ${l.address}`);
  return (s) => {
    rows.show(s.listeners);
    const r = s.reload;
    say($("reload"), !r ? "" : r.ok ? `Reloaded ${duration(between(r.at, s.time))} ago.` : `Reload failed ${duration(between(r.at, s.time))} ago: ${r.error}`);
  };
}

function unbanCell(cell) {
  const button = make("button", { type: "button" }, "Lift");
  cell.append(button);
  let source = "";
  button.addEventListener("click", () => run("/api/unban", { client: source }, () => `${source} may connect again.`));
  return (b) => {
    source = b.source;
    mark(button, "aria-label", `Lift the ban of ${source}`);
  };
}

/** bans returns what shows who is shut out. */
export function bans(table) {
  let now = "";
  const left = (cell) => {
    const { main, sub } = twoLines(cell);
    return (b) => {
      say(main, duration(between(now, b.until)));
      say(sub, b.connections > 0 ? `${count(b.connections)} made before` : "");
    };
  };
  const rows = new Table(table, [
    { label: "Client", cell: text((b) => b.source) },
    { label: "Free in", kind: "num", cell: left },
    { label: "", kind: "num", cell: unbanCell },
  ], (b) => b.source, "Nobody is banned.");
  return (s) => {
    now = s.time;
    rows.show(s.bans);
    const more = s.sources.banned - s.bans.length;
    say($("bans-note"), s.bans.length === 0 ? "" : (more > 0 ? `And ${count(more)} more: erlmcp lb ban list. ` : "") +
      "They cannot connect anew; sessions and open connections are kept. erlmcp lb ban remove ADDRESS lifts a ban.");
  };
}

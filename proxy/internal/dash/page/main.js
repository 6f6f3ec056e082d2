// The page: a stream of snapshots, and what shows them.

import { announce, prepareActions } from "./actions.js";
import { charts } from "./charts.js";
import { mark, say } from "./dom.js";
import { nodeKey, nodeTable } from "./nodes.js";
import { bans, headline, limits, listeners, nodeFile, totals, workers } from "./panels.js";
import { watch } from "./stream.js";

const $ = (id) => document.getElementById(id);

const drawn = charts($("charts"));
const views = [
  headline, totals($("totals")), nodeTable($("node-table")), nodeFile($("nodes-from")), limits($("limits")),
  workers($("worker-table")), listeners($("listener-table")), bans($("ban-table")), drawn.stats,
];

let states = null; // of the nodes, by key

/** tellChanges announces nodes whose state is another one than a second ago. */
function tellChanges(s) {
  const next = new Map(s.nodes.map((n) => [nodeKey(n), n.state]));
  const changed = states === null ? [] : s.nodes.filter((n) => states.get(nodeKey(n)) !== n.state);
  states = next;
  if (changed.length > 0) announce(`${changed.map((n) => `${n.name} is ${n.state}`).join(", ")}.`, changed.some((n) => n.state === "down"));
}

prepareActions();
watch({
  history: drawn.history,
  stats(s) {
    for (const view of views) view(s);
    tellChanges(s);
  },
  live(on) {
    mark($("live"), "data-live", on ? "on" : "off");
    say($("live"), on ? "live" : "no connection to the balancer, trying again");
  },
});

// The last minutes of every node, drawn by uPlot (a global: it is no module).

import { make, say } from "./dom.js";
import { count, micros, rate } from "./format.js";
import { nodeKey, seriesColour } from "./nodes.js";

const kept = 300; // points
const namedInReadout = 8;
const height = 150;

const quantities = [
  { title: "Connections", unit: "", field: "connections", of: (n) => n.connections, print: count },
  { title: "New connections", unit: "per second", field: "connections_per_s", of: (n) => n.rates.connections_per_s, print: rate },
  { title: "Messages", unit: "per second", field: "messages_per_s", of: (n) => n.rates.messages_per_s, print: rate },
  { title: "HTTP requests", unit: "per second", field: "requests_per_s", of: (n) => n.rates.requests_per_s, print: rate },
  { title: "HTTP answer time, p99", unit: "over a minute", field: "answer_p99_us", of: (n) => n.latency.p99_us || null, print: micros, log: true },
  { title: "Connect time, p99", unit: "over a minute", field: "connect_p99_us", of: (n) => n.connect.p99_us || null, print: micros, log: true },
];

const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** decades is the range of a logarithmic axis around values: whole powers of ten. */
function decades(_, min, max) {
  if (!(min > 0)) return [100, 10000];
  const low = 10 ** Math.floor(Math.log10(min));
  return [low, Math.max(10 * low, 10 ** Math.ceil(Math.log10(max)))];
}

const powers = (_, __, min, max) => {
  const at = [];
  for (let v = min; v <= max * 1.001; v *= 10) at.push(v);
  return at;
};

/** labelled prints the ticks of an axis; uPlot has null for those without a label. */
export const labelled = (print) => (_, at) => at.map((v) => (v === null ? "" : print(v)));

const fromZero = (_, __, max) => [0, max > 0 ? max * 1.08 : 1];

/** Chart is one quantity of all nodes. */
class Chart {
  constructor(parent, quantity) {
    this.quantity = quantity;
    this.plot = make("div", { class: "plot", role: "img", "aria-label": `${quantity.title} of each node ${quantity.unit}, over the last five minutes` });
    this.readout = make("div", { class: "readout", "aria-hidden": "true" });
    parent.append(make("figure", {}, make("figcaption", {}, make("b", {}, quantity.title), make("span", {}, ` ${quantity.unit}`), this.readout), this.plot));
    new ResizeObserver(() => this.uplot?.setSize(this.size())).observe(this.plot);
  }

  size() {
    return { width: Math.max(120, this.plot.clientWidth), height };
  }

  /** build draws anew, for other nodes or other colours. */
  build(nodes, data) {
    this.nodes = nodes;
    this.uplot?.destroy();
    const muted = colour("--muted");
    const axis = { stroke: muted, font: "11px system-ui, sans-serif", ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
    this.uplot = new uPlot({
      ...this.size(),
      legend: { show: false },
      cursor: { y: false, sync: { key: "erlmcp" }, points: { size: 5 }, drag: { x: false, y: false } },
      padding: [8, 8, 0, 0],
      scales: { y: this.quantity.log ? { distr: 3, range: decades } : { range: fromZero } },
      axes: [
        { ...axis, grid: { show: false }, space: 60, size: 24, values: (_, at) => at.map((t) => clock.format(t * 1000)), incrs: [60, 120, 300] },
        { ...axis, ...(this.quantity.log ? { splits: powers } : {}), space: 32, size: (_, labels) => Math.max(34, ...(labels ?? []).map((l) => 6.5 * l.length + 12)), values: labelled(this.quantity.print) },
      ],
      series: [{}, ...nodes.map((n, i) => ({ label: n.name, stroke: colour(`--s${i % 8}`), width: 1.5, points: { show: false } }))],
      hooks: { setCursor: [(u) => this.read(u.cursor.idx ?? null)] },
    }, data, this.plot);
    this.entries = nodes.slice(0, namedInReadout).map((n, i) => {
      const value = make("b");
      const swatch = make("span", { class: "swatch" });
      swatch.style.setProperty("--series", seriesColour(i));
      return { value, label: make("span", {}, swatch, `${n.name} `, value) };
    });
    this.when = make("span");
    this.readout.replaceChildren(...(nodes.length > namedInReadout ? [] : this.entries.map((e) => e.label)), this.when);
    this.read(null);
  }

  show(data) {
    this.uplot.setData(data);
    this.read(this.uplot.cursor.idx ?? null);
  }

  /** read prints the values at a point, the last one if it is null. */
  read(at) {
    if (!this.uplot || !this.entries) return;
    const data = this.uplot.data;
    const i = at ?? data[0].length - 1;
    this.entries.forEach((e, k) => say(e.value, data[k + 1]?.[i] == null ? "–" : this.quantity.print(data[k + 1][i])));
    say(this.when, at === null || data[0][i] === undefined ? "" : clockSeconds.format(data[0][i] * 1000));
  }
}

/** charts returns what takes in the history and every snapshot after it. */
export function charts(parent) {
  const all = quantities.map((q) => new Chart(parent, q));
  let times = []; // seconds
  let began = null; // when the balancer began, by the clock of its last snapshot
  let nodes = []; // {name, address, columns}: one column a quantity
  let drawn = null; // what is drawn: the keys of its nodes

  const draw = () => {
    const keys = nodes.map(nodeKey).join("\n");
    all.forEach((chart, q) => {
      const data = [times, ...nodes.map((n) => n.columns[q])];
      if (keys !== drawn) chart.build(nodes, data);
      else chart.show(data);
    });
    drawn = keys;
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawn = null; draw(); });

  return {
    times: () => times,
    history(h) {
      times = h.times.map((ms) => ms / 1000);
      began = null;
      nodes = h.nodes.map((n) => ({ name: n.name, address: n.address, columns: quantities.map((q) => n[q.field]) }));
      draw();
    },
    stats(s) {
      const at = Date.parse(s.time) / 1000;
      const set = began === null ? 0 : at - s.uptime_s - began; // how far the clock was set since
      if (Math.abs(set) > 0.5) times = times.map((t) => t + set);
      began = at - s.uptime_s;
      if (times.length > 0 && at - times[times.length - 1] < 0.5) return; // the history ends with it
      const before = new Map(nodes.map((n) => [nodeKey(n), n.columns]));
      const blank = () => quantities.map(() => new Array(times.length).fill(null));
      nodes = s.nodes.map((n) => {
        const columns = (before.get(nodeKey(n)) ?? blank()).map((c, q) => [...c, quantities[q].of(n)].slice(-kept));
        return { name: n.name, address: n.address, columns };
      });
      times = [...times, at].slice(-kept);
      draw();
    },
  };
}

// The TypeScript SDK's client does the steps of a plan, each in a session of its own, and prints a line of JSON
// with the outcome of each.   node client.mjs '{"url": …, "transport": "http"|"sse", "steps": [{"name": …}, …]}'
import { createHash, randomUUID } from "node:crypto";
import { once, EventEmitter } from "node:events";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";
import { Agent, setGlobalDispatcher } from "undici";
import { sleep } from "./sleep.mjs";

setGlobalDispatcher(new Agent({ headersTimeout: 0, bodyTimeout: 0 })); // else fetch gives up by itself after 300 s of silence
const plan = JSON.parse(process.argv[2]);
const patience = 60_000; // milliseconds

// Wire is what the client's requests go through. It knows when the stream for the server's own messages is open,
// and can cut the stream of an answer after its first event.
class Wire extends EventEmitter {
  cutNext = false;
  statuses = {}; // last one, by method, and of resumptions

  fetch = async (url, init = {}) => {
    const method = init.method ?? "GET";
    const resumed = new Headers(init.headers).get("last-event-id");
    if (resumed) await this.beforeResumption?.();
    const response = await fetch(url, init);
    this.statuses[resumed ? "resumed" : method] = response.status;
    if (method === "GET") this.emit("listening");
    if (!this.cutNext || method !== "POST" || !response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
    this.cutNext = false;
    return new Response(cutAfterEvent(response.body), { status: response.status, headers: response.headers });
  };
}

// cutAfterEvent gives the beginning of a stream up to the end of the first event that has an id.
function cutAfterEvent(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let seen = "";
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await reader.read();
      if (done) return controller.close();
      seen += decoder.decode(value, { stream: true });
      controller.enqueue(value);
      if (/^id:.*\n(.+\n)*\n/m.test(seen)) {
        await reader.cancel();
        controller.error(new Error("cut by the test"));
      }
    },
    cancel: () => reader.cancel(),
  });
}

async function session() {
  const wire = new Wire();
  const listening = once(wire, "listening", { signal: AbortSignal.timeout(patience) });
  const client = new Client({ name: "typescript", version: "1" }, { capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, () => ({ role: "assistant", model: "m", content: { type: "text", text: "a sampled answer" } }));
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada" } }));
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: "file:///root/of/the/client", name: "r" }] }));
  const url = new URL(plan.url);
  const transport =
    plan.transport === "sse"
      ? new SSEClientTransport(url, { fetch: wire.fetch, eventSourceInit: { fetch: wire.fetch } })
      : new StreamableHTTPClientTransport(url, { fetch: wire.fetch });
  await client.connect(transport);
  await listening;
  const call = (step, options, more) =>
    client.callTool({ name: step.tool, arguments: { ...step.arguments, ...more } }, undefined, { timeout: patience, ...options }).then(text);
  return { client, transport, wire, call };
}

function text(result) {
  const { text, resource } = result.content[0];
  const value = text ?? resource.blob;
  if (result.isError) throw new Error(value);
  return value;
}

const plainCall = (s, step) => s.call(step);

async function update({ client, call }, step) {
  let resolve;
  const updated = new Promise((r) => (resolve = r));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri));
  await client.subscribeResource({ uri: step.uri });
  await sleep((step.wait ?? 0) * 1000);
  await call(step);
  const late = sleep(patience).then(() => Promise.reject(new Error("no update")));
  return `updated ${await Promise.race([updated, late])}`;
}

const steps = {
  list: async ({ client }) => (await client.listTools()).tools.map((t) => t.name).sort().join(" "),
  call: plainCall,
  sampling: plainCall,
  elicitation: plainCall,
  roots: plainCall,
  async progress({ call }, step) {
    let seen = "";
    const onprogress = (p) => (seen += `${p.progress}/${p.total} `);
    const done = await call(step, { onprogress });
    return seen.replace("5/5 ", "") + done; // the last one may come with the answer, and then the client drops it
  },
  subscription: update,
  idle: update,
  async cancellation({ call }, step) {
    const key = randomUUID();
    const abort = new AbortController();
    const options = { signal: abort.signal, onprogress: () => abort.abort("enough"), resetTimeoutOnProgress: true };
    await call(step, options, step.witness && { key }).then(
      () => Promise.reject(new Error("not cancelled")),
      (e) => abort.signal.aborted || Promise.reject(e),
    );
    if (!step.witness) return "cancelled";
    for (let i = 0; i < 400; i++) {
      if ((await call({ tool: step.witness, arguments: { key } })) === "true") return "cancelled, seen by the server";
      await sleep(50);
    }
    return "cancelled, not seen by the server";
  },
  async deletion({ transport, wire }) {
    const headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-session-id": transport.sessionId,
      "mcp-protocol-version": transport.protocolVersion,
    };
    await transport.terminateSession();
    const again = await fetch(plan.url, { method: "POST", headers, body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}' });
    return `${wire.statuses.DELETE}, then ${again.status}`;
  },
  async resumption({ wire, call }, step) {
    wire.cutNext = true;
    if (step.outlast) wire.beforeResumption = () => call(step);
    const done = await call(step, { onprogress: () => {} }).catch((e) => e.message);
    return `${wire.statuses.resumed ?? "not resumed"}, ${done}`;
  },
  async parallel({ call }, step) {
    const answers = await Promise.allSettled(Array.from({ length: 50 }, (_, i) => call(step, {}, { [step.argument]: `text ${i}` })));
    const right = answers.filter((a, i) => a.value?.endsWith(`text ${i}`)).length;
    const wrong = answers.find((a, i) => !a.value?.endsWith(`text ${i}`));
    return `${right} of 50` + (wrong ? `, ${wrong.reason ?? wrong.value}` : "");
  },
  async big({ call }, step) {
    const value = await call(step);
    return `${value.length} characters ${createHash("sha256").update(value).digest("hex").slice(0, 12)}`;
  },
  silent: ({ call }, step) => call(step, { timeout: (step.arguments.seconds ?? step.arguments.duration) * 1000 + patience }),
};

for (const step of plan.steps) {
  let outcome, s;
  try {
    s = await session();
    outcome = await steps[step.name](s, step);
  } catch (e) {
    outcome = `error: ${e.message}${e.cause ? ` (${e.cause.message})` : ""}`;
  }
  console.log(JSON.stringify({ step: step.name, outcome }));
  await s?.client.close().catch(() => {});
}
process.exit(0); // whatever a broken stream has left behind

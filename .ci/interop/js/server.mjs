// A server on the TypeScript SDK: Streamable HTTP with sessions that can be resumed, or stdio.
//   node server.mjs http PORT|stdio
import { randomUUID } from "node:crypto";
import { createMcpExpressApp } from "@modelcontextprotocol/sdk/server/express.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { SubscribeRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { z } from "zod";
import { sleep } from "./sleep.mjs";

const cancelled = new Set(); // keys of calls of work that were cancelled

function mcpServer() {
  const server = new McpServer({ name: "typescript", version: "1" }, { capabilities: { resources: { subscribe: true } } });
  const subscriptions = new Set();
  const text = (text) => ({ content: [{ type: "text", text }] });
  const tool = (name, inputSchema, call) => server.registerTool(name, { inputSchema }, call);

  tool("echo", { text: z.string() }, ({ text: t }) => text(t));
  tool("big", { bytes: z.number() }, ({ bytes }) => text("0123456789".repeat(bytes / 10)));
  tool("work", { seconds: z.number(), steps: z.number(), key: z.string().optional() }, async ({ seconds, steps, key }, { signal, _meta, sendNotification }) => {
    for (let progress = 1; progress <= steps; progress++) {
      const progressToken = _meta?.progressToken;
      if (progressToken !== undefined) {
        await sendNotification({ method: "notifications/progress", params: { progressToken, progress, total: steps } });
      }
      await sleep((seconds / steps) * 1000, signal);
      if (signal.aborted) {
        cancelled.add(key);
        break;
      }
    }
    return text("done");
  });
  tool("cancelled", { key: z.string() }, ({ key }) => text(String(cancelled.has(key))));
  tool("sample", {}, async () => {
    const answer = await server.server.createMessage({ maxTokens: 10, messages: [{ role: "user", content: { type: "text", text: "hello?" } }] });
    return text(answer.content.text);
  });
  tool("elicit", {}, async () => {
    const requestedSchema = { type: "object", properties: { name: { type: "string" } } };
    const answer = await server.server.elicitInput({ message: "your name?", requestedSchema });
    return text(`${answer.action} ${answer.content?.name}`);
  });
  tool("roots", {}, async () => text((await server.server.listRoots()).roots.map((r) => r.uri).join(" ")));
  tool("touch", {}, async () => {
    for (const uri of subscriptions) await server.server.sendResourceUpdated({ uri });
    return text("touched");
  });

  server.registerResource("watched", "test://watched", {}, (uri) => ({ contents: [{ uri: uri.href, text: "watched" }] }));
  server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    subscriptions.add(params.uri);
    return {};
  });
  return server;
}

// Events are what clients may ask for again, by stream.
class Events {
  #events = [];
  async storeEvent(stream, message) {
    return String(this.#events.push({ stream, message }) - 1);
  }
  async replayEventsAfter(id, { send }) {
    const { stream } = this.#events[id];
    for (let i = Number(id) + 1; i < this.#events.length; i++) {
      const event = this.#events[i];
      if (event.stream === stream) await send(String(i), event.message);
    }
    return stream;
  }
}

function serveHTTP(port) {
  const sessions = new Map();
  const app = createMcpExpressApp();
  app.all("/mcp", async (req, res) => {
    const id = req.headers["mcp-session-id"];
    let transport = sessions.get(id);
    if (!transport && id) return res.status(404).json({ jsonrpc: "2.0", error: { code: -32001, message: "Session not found" }, id: null });
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new Events(),
        onsessioninitialized: (id) => sessions.set(id, transport),
        onsessionclosed: (id) => sessions.delete(id),
      });
      await mcpServer().connect(transport);
    }
    await transport.handleRequest(req, res, req.body);
  });
  app.listen(port, "127.0.0.1");
}

if (process.argv[2] === "stdio") await mcpServer().connect(new StdioServerTransport());
else serveHTTP(Number(process.argv[3]));

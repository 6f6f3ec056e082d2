// A server of fastmcp with the tools of server.mjs.   node fastmcp.mjs PORT
import { FastMCP } from "fastmcp";
import { z } from "zod";
import { sleep } from "./sleep.mjs";

const cancelled = new Set(); // keys of calls of work that were cancelled
const server = new FastMCP({ name: "fastmcp", version: "1.0.0" });
const tool = (name, parameters, execute) => server.addTool({ name, description: name, parameters: z.object(parameters), execute });

tool("echo", { text: z.string() }, async ({ text }) => text);
tool("big", { bytes: z.number() }, async ({ bytes }) => "0123456789".repeat(bytes / 10));
tool("work", { seconds: z.number(), steps: z.number(), key: z.string().optional() }, async ({ seconds, steps, key }, { signal, reportProgress }) => {
  for (let progress = 1; progress <= steps; progress++) {
    await reportProgress({ progress, total: steps });
    await sleep((seconds / steps) * 1000, signal);
    if (signal.aborted) {
      cancelled.add(key);
      break;
    }
  }
  return "done";
});
tool("cancelled", { key: z.string() }, async ({ key }) => String(cancelled.has(key)));
tool("elicit", {}, async (_, { elicit }) => {
  const answer = await elicit({ message: "your name?", requestedSchema: { type: "object", properties: { name: { type: "string" } } } });
  return `${answer.action} ${answer.content?.name}`;
});
tool("sample", {}, async (_, { sessionId }) => {
  const session = server.sessions.find((s) => s.sessionId === sessionId);
  const answer = await session.requestSampling({ maxTokens: 10, messages: [{ role: "user", content: { type: "text", text: "hello?" } }] });
  return answer.content.text;
});
tool("roots", {}, async (_, { sessionId }) => {
  // session.roots stays empty over HTTP: fastmcp asks for them before it knows what the client can do.
  const session = server.sessions.find((s) => s.sessionId === sessionId);
  return (await session.server.listRoots()).roots.map((r) => r.uri).join(" ");
});
tool("touch", {}, async () => {
  await server.sendResourceUpdated("test://watched");
  return "touched";
});
server.addResource({ uri: "test://watched", name: "watched", mimeType: "text/plain", load: async () => ({ text: "watched" }) });

await server.start({ transportType: "httpStream", httpStream: { port: Number(process.argv[2]), host: "127.0.0.1" } });

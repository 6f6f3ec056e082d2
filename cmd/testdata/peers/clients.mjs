// Opens eight sessions, one after the other, asks each five times who answers, and prints a line of the
// answers for each.   node clients.mjs v1-streamable|v1-sse|v2-session|v2-stateless BASE
const [kind, base] = process.argv.slice(2);
const name = { name: "test", version: "1" };

async function session() {
  if (kind.startsWith("v1")) {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const { SSEClientTransport } = await import("@modelcontextprotocol/sdk/client/sse.js");
    const client = new Client(name);
    await client.connect(kind === "v1-sse" ? new SSEClientTransport(new URL(base + "/mcp/sse")) : new StreamableHTTPClientTransport(new URL(base + "/mcp")));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const mode = kind === "v2-stateless" ? { pin: "2026-07-28" } : "legacy";
  const client = new Client(name, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(base + "/mcp")));
  return client;
}

for (let i = 0; i < 8; i++) {
  const client = await session();
  const nodes = [];
  for (let j = 0; j < 5; j++) {
    const result = await client.callTool({ name: "whoami", arguments: {} });
    nodes.push(result.structuredContent?.node ?? result.content[0].text);
  }
  await client.close();
  console.log(nodes.join(" "));
}

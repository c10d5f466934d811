// Drives clients of the TypeScript SDK as driven_client.py describes.
// Usage: node --input-type=module --eval "$(cat typescript_client.mjs)" 1 | 2     (the generation of the SDK)

import { createInterface } from "node:readline";

const generation = process.argv.at(-1);

const capabilities = { elicitation: {}, sampling: {}, roots: { listChanged: true } };

// What the two generations of the SDK spell differently.
const sdk = generation === "1" ? await firstGeneration() : await secondGeneration();

async function firstGeneration() {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { SSEClientTransport } = await import("@modelcontextprotocol/sdk/client/sse.js");
  const types = await import("@modelcontextprotocol/sdk/types.js");
  const results = {
    "tools/list": types.ListToolsResultSchema,
    "tools/call": types.CallToolResultSchema,
    "resources/list": types.ListResourcesResultSchema,
    "resources/read": types.ReadResourceResultSchema,
    "prompts/get": types.GetPromptResultSchema,
    "completion/complete": types.CompleteResultSchema,
  };
  return {
    StreamableHTTPClientTransport,
    SSEClientTransport,
    makeClient: () => new Client({ name: "typescript 1", version: "1" }, { capabilities }),
    onQuestion(client, answer) {
      client.setRequestHandler(types.ElicitRequestSchema, answer);
      client.setRequestHandler(types.CreateMessageRequestSchema, answer);
      client.setRequestHandler(types.ListRootsRequestSchema, answer);
    },
    request: (client, request, options) =>
      client.request(request, results[request.method] ?? types.ResultSchema, options),
  };
}

async function secondGeneration() {
  const { Client, StreamableHTTPClientTransport, SSEClientTransport } = await import("@modelcontextprotocol/client");
  return {
    StreamableHTTPClientTransport,
    SSEClientTransport,
    makeClient: (mode) =>
      new Client({ name: "typescript 2", version: "2" }, { capabilities, versionNegotiation: { mode } }),
    onQuestion(client, answer) {
      client.setRequestHandler("elicitation/create", answer);
      client.setRequestHandler("sampling/createMessage", answer);
      client.setRequestHandler("roots/list", answer);
    },
    request: (client, request, options) => client.request(request, options),
  };
}

const clients = new Map();
const aborts = new Map();
const answers = new Map();
let questions = 0;

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const actions = {
  async connect({ client: name, url, transport, mode }) {
    const client = sdk.makeClient(mode);
    clients.set(name, client);
    client.fallbackNotificationHandler = async ({ method, params }) => say({ client: name, notification: method, params });
    sdk.onQuestion(client, ({ method, params }) => {
      const question = ++questions;
      say({ client: name, question, method, params });
      return new Promise((resolve) => answers.set(question, resolve));
    });
    const Transport = transport === "sse" ? sdk.SSEClientTransport : sdk.StreamableHTTPClientTransport;
    await client.connect(new Transport(new URL(url)));
    return {
      serverInfo: client.getServerVersion(),
      instructions: client.getInstructions(),
      capabilities: client.getServerCapabilities(),
    };
  },

  async request({ id, client, method, params }) {
    const abort = new AbortController();
    aborts.set(id, abort);
    const onprogress = (progress) => say({ progress: id, params: progress });
    return await sdk.request(clients.get(client), { method, params }, { onprogress, signal: abort.signal });
  },

  async cancel({ call }) {
    aborts.get(call).abort();
  },

  async notify({ client, method, params }) {
    await clients.get(client).notification({ method, params });
    return null;
  },

  async answer({ question, result }) {
    answers.get(question)(result);
  },

  async close({ client: name }) {
    const client = clients.get(name);
    // Ends the session with DELETE, where the transport has sessions; `close` alone would only go away.
    await client.transport.terminateSession?.();
    await client.close();
    return null;
  },
};

for await (const text of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const line = JSON.parse(text);
  actions[line.do](line).then(
    (result) => line.id !== undefined && say({ id: line.id, result }),
    ({ code, message, data }) => say({ id: line.id, error: { code, message, data } }),
  );
}
process.exit(0);

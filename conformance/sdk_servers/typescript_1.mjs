// A server on version 1 of the TypeScript SDK, with both transports: node typescript_1.mjs PORT.
//
// The wiring is that of the SDK's example sseAndStreamableHttpCompatibleServer; the tools are those of our demo server.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { InMemoryEventStore } from '@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import {
    CallToolRequestSchema,
    isInitializeRequest,
    ListResourcesRequestSchema,
    ListToolsRequestSchema,
    ReadResourceRequestSchema,
    SubscribeRequestSchema,
    UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';

const text = words => ({ content: [{ type: 'text', text: words }] });
const tool = (name, description, properties = {}) => ({
    name,
    description,
    inputSchema: { type: 'object', properties, required: Object.keys(properties) },
});
const TOOLS = [
    tool('echo', 'Says the same thing back', { text: { type: 'string' } }),
    tool('count', 'Counts, and reports how far it is', { to: { type: 'integer' }, delay_ms: { type: 'integer' } }),
    tool('ask_name', 'Asks for a name'),
    tool('touch', 'Changes the counter'),
    tool('grow', 'Adds a tool'),
];
const COUNTER = 'demo://counter';

function createServer() {
    const server = new Server(
        { name: 'typescript-sdk-server', version: '1.0.0' },
        { capabilities: { tools: { listChanged: true }, resources: { subscribe: true } } },
    );
    const subscribed = new Set();
    let count = 0;
    const grown = [];
    server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: [...TOOLS, ...grown] }));
    server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources: [{ uri: COUNTER, name: 'Counter' }] }));
    server.setRequestHandler(ReadResourceRequestSchema, ({ params }) => ({ contents: [{ uri: params.uri, text: `${count}` }] }));
    server.setRequestHandler(SubscribeRequestSchema, ({ params }) => (subscribed.add(params.uri), {}));
    server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => (subscribed.delete(params.uri), {}));
    server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
        const given = params.arguments ?? {};
        switch (params.name) {
            case 'echo':
                return text(given.text);
            case 'count': {
                const progressToken = params._meta?.progressToken;
                for (let progress = 1; progress <= given.to && !extra.signal.aborted; progress++) {
                    if (progressToken !== undefined) {
                        const report = { progressToken, progress, total: given.to, message: `counted ${progress}` };
                        await extra.sendNotification({ method: 'notifications/progress', params: report });
                    }
                    await sleep(given.delay_ms);
                }
                return text(`counted to ${given.to}`);
            }
            case 'ask_name': {
                const schema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
                const question = { mode: 'form', message: 'What is your name?', requestedSchema: schema };
                const answer = await server.elicitInput(question, { relatedRequestId: extra.requestId });
                return text(`${answer.action}: ${answer.content?.name}`);
            }
            case 'touch':
                count += 1;
                if (subscribed.has(COUNTER)) await server.sendResourceUpdated({ uri: COUNTER });
                return text(`${count}`);
            case 'grow':
                grown.push(tool(`grown_${grown.length}`, 'Has grown'));
                await server.sendToolListChanged();
                return text('grown');
            default:
                throw new Error(`unknown tool: ${params.name}`);
        }
    });
    return server;
}

const app = createMcpExpressApp();
const transports = new Map();
const refuse = (res, status, code, message) => res.status(status).json({ jsonrpc: '2.0', error: { code, message }, id: null });

app.all('/mcp', async (req, res) => {
    const sessionId = req.headers['mcp-session-id'];
    let transport = sessionId && transports.get(sessionId);
    if (sessionId && !(transport instanceof StreamableHTTPServerTransport)) {
        refuse(res, 404, -32001, 'Session not found');
        return;
    }
    if (!sessionId) {
        if (req.method !== 'POST' || !isInitializeRequest(req.body)) {
            refuse(res, 400, -32000, 'Bad Request: No valid session ID provided');
            return;
        }
        transport = new StreamableHTTPServerTransport({
            sessionIdGenerator: () => randomUUID(),
            eventStore: new InMemoryEventStore(),
            onsessioninitialized: id => transports.set(id, transport),
        });
        transport.onclose = () => transports.delete(transport.sessionId);
        await createServer().connect(transport);
    }
    await transport.handleRequest(req, res, req.body);
});
app.get('/sse', async (req, res) => {
    const transport = new SSEServerTransport('/messages', res);
    transports.set(transport.sessionId, transport);
    transport.onclose = () => transports.delete(transport.sessionId);
    await createServer().connect(transport);
});
app.post('/messages', async (req, res) => {
    const transport = transports.get(req.query.sessionId);
    if (transport instanceof SSEServerTransport) await transport.handlePostMessage(req, res, req.body);
    else res.status(400).send('No transport found for sessionId');
});
app.listen(Number(process.argv[2]), '127.0.0.1');

// A server on version 2 of the TypeScript SDK, for both eras: node typescript_2.mjs PORT.
//
// The wiring is that of the packages' own documentation: createMcpHandler, with what guards a local server before it.  The
// tools are those of our demo server.
import { createServer as createHttpServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, fromJsonSchema, inputRequired, inputResponse, McpServer } from '@modelcontextprotocol/server';

const text = words => ({ content: [{ type: 'text', text: words }] });
const object = (properties, required = Object.keys(properties)) => ({ type: 'object', properties, required });
const COUNTER = 'demo://counter';
const NAME = object({ name: { type: 'string' } });
const PLACE = { region: { type: 'string', 'x-mcp-header': 'Region' }, floor: { type: 'integer', 'x-mcp-header': 'Floor' } };
const TOOLS = {
    echo: [{ text: { type: 'string' } }, given => text(given.text)],
    locate: [PLACE, given => text(`${given.region} ${given.floor}`), ['region']],
    count: [{ to: { type: 'integer' }, delay_ms: { type: 'integer' } }, countTo],
    ask_name: [{}, askName],
    touch: [{}, touch],
    grow: [{}, grow],
};
let count = 0;
const grown = [];

async function countTo(given, { mcpReq }) {
    const progressToken = mcpReq._meta?.progressToken;
    for (let progress = 1; progress <= given.to && !mcpReq.signal.aborted; progress++) {
        if (progressToken !== undefined) {
            const report = { progressToken, progress, total: given.to, message: `counted ${progress}` };
            await mcpReq.notify({ method: 'notifications/progress', params: report });
        }
        await sleep(given.delay_ms);
    }
    return text(`counted to ${given.to}`);
}

function askName(given, { mcpReq }) {
    const answer = inputResponse(mcpReq.inputResponses, 'name');
    if (answer.kind !== 'missing') return text(JSON.stringify(answer));
    const question = inputRequired.elicit({ message: 'What is your name?', requestedSchema: NAME });
    return inputRequired({ inputRequests: { name: question } });
}

function touch() {
    count += 1;
    handler.notify.resourceUpdated(COUNTER);
    return text(`${count}`);
}

function grow() {
    grown.push(`grown_${grown.length}`);
    handler.notify.toolsChanged();
    return text('grown');
}

// The SDK wants a server for each request.
function createServer() {
    const server = new McpServer(
        { name: 'typescript-sdk-server', version: '2.0.0' },
        { capabilities: { tools: { listChanged: true }, resources: { subscribe: true } } },
    );
    for (const [name, [properties, call, required]] of Object.entries(TOOLS)) {
        server.registerTool(name, { description: name, inputSchema: fromJsonSchema(object(properties, required)) }, call);
    }
    for (const name of grown) {
        server.registerTool(name, { description: name, inputSchema: fromJsonSchema(object({})) }, () => text(name));
    }
    const read = uri => ({ contents: [{ uri: uri.href, text: `${count}` }] });
    server.registerResource('counter', COUNTER, { description: 'How often it was touched' }, read);
    return server;
}

const handler = createMcpHandler(createServer);
const serve = toNodeHandler(handler);
const isLocalHost = localhostHostValidation();
const isLocalOrigin = localhostOriginValidation();
createHttpServer((req, res) => {
    if (!isLocalHost(req, res) || !isLocalOrigin(req, res)) return;
    if (new URL(req.url, 'http://localhost').pathname !== '/mcp') res.writeHead(404).end();
    else serve(req, res);
}).listen(Number(process.argv[2]), '127.0.0.1');

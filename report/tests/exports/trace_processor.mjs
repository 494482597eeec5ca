// Asks Perfetto's trace processor about a trace. Prints the rows of each answer on a line of its own, as JSON.
//
// The trace processor is the one of Perfetto's page: WebAssembly in a worker, for which this is the page and the browser.
//
// usage: node trace_processor.mjs ENGINE_FOLDER TRACE SQL…

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import vm from "node:vm";

const [folder, trace, ...questions] = process.argv.slice(2);

// What it logs is no answer.
console.log = console.error;

class FileRequest {
    open(_method, name) {
        this.file = path.join(folder, name);
    }

    send() {
        this.response = fs.readFileSync(this.file);
    }
}

/** Refuses the module by which the worker finds out whether memory may have 64-bit addresses: only its other form is here. */
class Module extends WebAssembly.Module {
    constructor(bytes) {
        const [MEMORY, HAS_64_BITS] = [5, 4];
        if (bytes[8] === MEMORY && bytes[11] === HAS_64_BITS) {
            throw new WebAssembly.CompileError("memory of 64 bits is not wanted");
        }
        super(bytes);
    }
}

const self = { location: { href: "" } };
const browser = {
    self,
    WorkerGlobalScope: Object,
    XMLHttpRequest: FileRequest,
    WebAssembly: Object.assign(Object.create(WebAssembly), { Module }),
};
const worker = fs.readFileSync(path.join(folder, "engine_bundle.node.js"), "utf8");
vm.compileFunction(worker, Object.keys(browser))(...Object.values(browser));

const { port1: ours, port2: theirs } = new MessageChannel();
self.onmessage({ data: theirs });

const { EngineBase } = await import(pathToFileURL(path.join(folder, "engine.mjs")));
class Engine extends EngineBase {
    rpcSendRequestBytes(bytes) {
        ours.postMessage(bytes);
    }
}
const engine = new Engine();
ours.onmessage = (message) => engine.onRpcResponseBytes(message.data);

await engine.parse(fs.readFileSync(trace));
await engine.notifyEof();
for (const question of questions) {
    const answer = await engine.query(question);
    const rows = [];
    for (const row = answer.iter({}); row.valid(); row.next()) {
        rows.push(answer.columns().map((column) => row.get(column)));
    }
    // Times are below 2^53 ns, which is a hundred days.
    const plain = (_, value) => (typeof value === "bigint" ? Number(value) : value);
    process.stdout.write(`${JSON.stringify(rows, plain)}\n`);
}
ours.close();

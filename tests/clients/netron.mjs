// What Netron reads in a file: node netron.mjs FOLDER_OF_NETRON FILE prints {inputs, outputs, nodes}.
//
// Netron's own readers, without its window: `ModelFactoryService` finds the format and reads the
// file, and its neighbours (weights) through `fetch`.

import fs from 'fs';
import path from 'path';
import { pathToFileURL } from 'url';

const [folder, file] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(path.join(folder, name)).href);
const { ModelFactoryService } = await load('view.js');
const { FileStream } = await load('node.js');

const open = (name) => {
    const { size, mtimeMs } = fs.statSync(name);
    return new FileStream(name, 0, size, mtimeMs);
};

const host = {
    environment: () => null,
    event: () => { },
    exception: (error) => { throw error; },
    require: (id) => load(`${id}.js`),
    asset: (name) => fs.promises.readFile(path.join(folder, name), 'utf-8')
};

const context = {
    identifier: path.basename(file),
    stream: open(file),
    entries: new Map([[path.basename(file), open(file)]]),
    asset: host.asset,
    require: host.require,
    fetch: async (name) => open(path.join(path.dirname(file), name)),
    error: (error) => { throw error; }
};

const model = await new ModelFactoryService(host).open(context);
const [graph] = model.modules || model.graphs;
const names = (values) => values.map(({ name, value }) => ({
    name,
    type: value.map((each) => each.type ? each.type.toString() : null)
}));
console.log(JSON.stringify({
    format: model.format,
    inputs: names(graph.inputs),
    outputs: names(graph.outputs),
    nodes: graph.nodes.length,
    last: graph.nodes.at(-1).outputs.flatMap(({ value }) => value.map((each) => each.name))
}));

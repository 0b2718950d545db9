// An ONNX file in onnxruntime-web: node ort_web.mjs NODE_MODULES FILE INPUT prints the answer.

import fs from 'fs';
import { createRequire } from 'module';
import path from 'path';

const [modules, file, input] = process.argv.slice(2);
const ort = createRequire(path.join(modules, 'index.js'))('onnxruntime-web/wasm');
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync(file)));
const values = new Float32Array(new Uint8Array(fs.readFileSync(input)).buffer);
const [name] = session.inputNames;
const [{ shape }] = session.inputMetadata;
const found = await session.run({ [name]: new ort.Tensor('float32', values, shape) });
console.log(JSON.stringify({
    inputs: session.inputNames,
    outputs: session.outputNames.map((each) => [each, [...found[each].data]])
}));
process.exit(0);

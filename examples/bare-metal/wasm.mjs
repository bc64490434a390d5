// Runs the module that is named, and prints logits as the programs of boards do: `node wasm.mjs wasm.wasm`.
import { readFileSync } from "node:fs";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]));
const { logit, int8_logit } = instance.exports;
for (let i = 0; i < 10; i++) console.log(`logit ${i} ${logit(i)}`);
for (let i = 0; i < 10; i++) console.log(`int8 logit ${i} ${(int8_logit(i) >>> 0).toString(16)}`);

// Compares the logits of networks in f32 with this machine's, bit by bit: `node floats.mjs floats.wasm < what examples/floats prints`.
import { readFileSync } from "node:fs";

const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(process.argv[2])));
if (!exports.has_vectors()) throw new Error("the module was compiled without vectors");
const cases = readFileSync(0, "utf8").trim().split("\n").map((line) => line.split(" "));
let compared = 0;
cases.forEach((expected, number) => {
  const count = exports.logits_of(number);
  const bits = new Uint32Array(exports.memory.buffer, exports.logits_at(), count);
  const values = new Float32Array(bits.slice().buffer);
  if (count !== expected.length) throw new Error(`case ${number}: ${count} logits instead of ${expected.length}`);
  expected.forEach((text, place) => {
    if (bits[place].toString(16) !== text) throw new Error(`case ${number}, logit ${place}: ${bits[place].toString(16)} instead of ${text}`);
  });
  const largest = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  if (!(largest > 0.2 && largest < 50)) throw new Error(`case ${number}: logits of ${largest} would prove nothing`);
  compared += count;
});
if (exports.logits_of(cases.length)) throw new Error(`${cases.length} cases were printed, and there are more`);
console.log(`f32: ${compared} logits of ${cases.length} networks, the bits of plain Rust on this machine`);

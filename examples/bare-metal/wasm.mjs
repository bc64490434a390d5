// Runs the module that is named, and prints logits as the programs of boards do: `node wasm.mjs wasm.wasm`.
import { readFileSync } from "node:fs";

const module = readFileSync(process.argv[2]);
const { instance } = await WebAssembly.instantiate(module);
const { logit, int8_logit, weights, int8_weights } = instance.exports;
console.log(`flash: ${bytes(module)}`);
console.log(`weights of f32: ${weights()}`);
console.log(`weights of int8: ${int8_weights()}`);
for (let i = 0; i < 10; i++) console.log(`logit ${i} ${logit(i)}`);
for (let i = 0; i < 10; i++) console.log(`int8 logit ${i} ${(int8_logit(i) >>> 0).toString(16)}`);

// Bytes of a module without its custom sections (0), which hold names for debuggers.
function bytes(module) {
  let [sum, place] = [8, 8];
  while (place < module.length) {
    const begin = place;
    const kind = module[place++];
    let [size, shift] = [0, 0];
    do {
      size += (module[place] & 127) * 2 ** shift;
      shift += 7;
    } while (module[place++] & 128);
    place += size;
    if (kind) sum += place - begin;
  }
  return sum;
}

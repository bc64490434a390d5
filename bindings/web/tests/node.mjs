// Compares the module's logits with this machine's, bit by bit: `node node.mjs alexnet.wasm < what examples/expected prints`.
import { readFileSync } from "node:fs";
import { Network } from "../page/network.js";

const PICTURES = [[28, 28, true], [224, 224, true], [300, 200, false], [1, 5, false]];

const module = new WebAssembly.Module(readFileSync(process.argv[2]));
const imports = WebAssembly.Module.imports(module);
if (imports.length) throw new Error(`the module imports ${imports.map(({ name }) => name).join(", ")}`);
const network = new Network(module);
if (!network.vectors) throw new Error("the module was compiled without vectors");
const expected = readFileSync(0, "utf8").trim().split("\n");
if (expected.length !== PICTURES.length) throw new Error(`${expected.length} pictures instead of ${PICTURES.length}`);

PICTURES.forEach(([width, height, gray], number) => {
  const rgba = new Uint8Array(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [red, green, blue] = [1, 5, 11].map((factor) => (3 * x + factor * y + Math.floor((x * y) / 4)) % 256);
      rgba.set(gray ? [red, red, red, 255] : [red, green, blue, 255], 4 * (y * width + x));
    }
  }
  const { logits, probabilities, milliseconds } = network.classify({ width, height, rgba });
  const found = [...new Uint32Array(logits.buffer)].map((bits) => bits.toString(16)).join(" ");
  if (found !== expected[number]) throw new Error(`picture ${number}: logits ${found} instead of ${expected[number]}`);
  const sum = probabilities.reduce((sum, value) => sum + value, 0);
  if (!(Math.abs(sum - 1) < 1e-6)) throw new Error(`picture ${number}: probabilities add up to ${sum}`);
  console.log(`${width} × ${height}: the bits of this machine, ${milliseconds.toFixed(1)} ms`);
});

for (const [width, height] of [[0, 5], [1 << 25, 1]]) {
  let message = "";
  try {
    network.classify({ width, height, rgba: new Uint8Array(4 * width * height) });
  } catch (error) {
    message = error.message;
  }
  if (!message.startsWith("infer-core's error")) throw new Error(`${width} × ${height}: expected an error, found ${message || "none"}`);
}

// The module's functions, in terms of JavaScript: the network, its classes, and the answer to a picture. Works in pages, workers and Node.

/** Errors of the module beyond infer-core's numbers. */
const MESSAGES = new Map([[0xffffffff, "the network is not open"], [0xfffffffe, "there is no room for so many pixels"]]);

const SIDE = 224;

export class Network {
  /** @param {WebAssembly.Module} module */
  constructor(module) {
    this.exports = new WebAssembly.Instance(module).exports;
    check(this.exports.open());
    const { memory, file, file_len } = this.exports;
    // A file of safetensors: the length of a header of JSON in 8 bytes, then the header.
    const length = Number(new DataView(memory.buffer, file(), 8).getBigUint64(0, true));
    const header = new TextDecoder().decode(new Uint8Array(memory.buffer, file() + 8, length));
    const metadata = JSON.parse(header).__metadata__;
    this.classes = JSON.parse(metadata.classes);
    this.checks = JSON.parse(metadata.checks);
    this.accuracy = Number(metadata.test_accuracy);
    this.bytes = file_len();
    this.vectors = Boolean(this.exports.has_vectors());
  }

  /**
   * The answer to a picture: `rgba` has four bytes for each pixel, row by row. Alpha is passed over.
   * Returns probabilities and logits by class, the input as the network sees it (224 × 224 gray values, 0 to 1), milliseconds, and a
   * reason to doubt the answer, if there is one.
   */
  classify({ width, height, rgba, invert = false }) {
    const { memory, pixels, classify, logits, probabilities, input } = this.exports;
    const start = performance.now();
    const address = pixels(width * height);
    if (address === 0) throw new Error(`a picture of ${width} × ${height} pixels does not fit into memory`);
    new Uint8Array(memory.buffer, address, rgba.length).set(rgba);
    check(classify(width, height, invert));
    const milliseconds = performance.now() - start;
    const floats = (address, count) => new Float32Array(memory.buffer, address, count).slice();
    const answer = {
      probabilities: floats(probabilities(), this.classes.length),
      logits: floats(logits(), this.classes.length),
      input: floats(input(), SIDE * SIDE),
      milliseconds,
    };
    answer.best = answer.probabilities.reduce((best, value, i, all) => (value > all[best] ? i : best), 0);
    answer.doubt = this.doubt(answer);
    return answer;
  }

  /** As infer-cli doubts: by the mean of the outermost pixels, and by the probability of the likeliest class. */
  doubt({ input, probabilities, best }) {
    let sum = 0;
    for (let i = 0; i < SIDE; i++) sum += input[i] + input[(SIDE - 1) * SIDE + i];
    for (let i = 1; i < SIDE - 1; i++) sum += input[i * SIDE] + input[i * SIDE + SIDE - 1];
    if (sum / (4 * SIDE - 4) > this.checks.border_at_most) return "light border";
    if (probabilities[best] < this.checks.probability_at_least) return "unsure";
    return null;
  }
}

function check(code) {
  const number = code >>> 0;
  if (number !== 0) throw new Error(MESSAGES.get(number) ?? `infer-core's error ${number}`);
}

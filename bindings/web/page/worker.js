// Runs the network beside the page, so that the page never waits.
import { Network } from "./network.js";

let network;

async function open() {
  const response = await fetch("alexnet.wasm");
  if (!response.ok) throw new Error(`alexnet.wasm: ${response.status} ${response.statusText}`);
  network = new Network(await WebAssembly.compileStreaming(response));
  const { classes, accuracy, bytes, vectors } = network;
  postMessage({ kind: "open", classes, accuracy, bytes, vectors });
}

const ready = open().catch((error) => postMessage({ kind: "error", message: `The network cannot be opened: ${error.message}` }));

onmessage = async ({ data }) => {
  await ready;
  if (!network) return;
  try {
    postMessage({ kind: "answer", ...network.classify(data) });
  } catch (error) {
    postMessage({ kind: "error", message: `The picture cannot be classified: ${error.message}` });
  }
};

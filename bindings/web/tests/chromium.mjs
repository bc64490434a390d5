// The page in headless Chromium: gives it a picture, and expects the class and the probability that infer-cli says; then again without
// a server. `node chromium.mjs PAGE PICTURE CLASS PROBABILITY [FOLDER]`: screenshots go to FOLDER.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";

const [page, picture, expectedClass, expectedProbability, screenshots] = process.argv.slice(2);
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".wasm": "application/wasm" };
/** Milliseconds that anything may take. */
const PATIENCE = 60_000;

const server = createServer((request, response) => {
  const path = normalize(request.url === "/" ? "/index.html" : request.url);
  try {
    const body = readFileSync(join(page, path));
    response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const address = `http://127.0.0.1:${server.address().port}/`;

const profile = mkdtempSync(join(tmpdir(), "chromium-"));
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"];
const options = [...flags, `--user-data-dir=${profile}`, "about:blank"];
const browser = spawn(process.env.CHROMIUM ?? "chromium", options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [, , , commands, answers] = browser.stdio;

// Chromium's protocol: JSON, each message ended by a zero byte.
const waiting = new Map();
let number = 0;
let rest = "";
answers.on("data", (data) => {
  const messages = (rest + data).split("\0");
  rest = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) {
    const { resolve, reject } = waiting.get(message.id) ?? {};
    waiting.delete(message.id);
    if (message.error) reject?.(new Error(message.error.message));
    else resolve?.(message.result);
  }
});
function send(method, params = {}, sessionId = undefined) {
  number += 1;
  commands.write(JSON.stringify({ id: number, method, params, sessionId }) + "\0");
  return new Promise((resolve, reject) => waiting.set(number, { resolve, reject }));
}

async function main() {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const tab = (method, params) => send(method, params, sessionId);
  const value = async (expression) => {
    const { result, exceptionDetails } = await tab("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  };
  const until = async (what, expression) => {
    const start = Date.now();
    while (!(await value(expression))) {
      const status = await value("document.getElementById('status')?.textContent");
      if (Date.now() - start > PATIENCE) throw new Error(`${what}: waited in vain; the page says: ${status}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const classify = async () => {
    await until("the network", "document.getElementById('status').textContent.startsWith('Ready')");
    const { root } = await tab("DOM.getDocument");
    const { nodeId } = await tab("DOM.querySelector", { nodeId: root.nodeId, selector: "#file" });
    await tab("DOM.setFileInputFiles", { nodeId, files: [picture] });
    await until("an answer", "document.querySelector('tr.best') !== null");
    const status = await value("document.getElementById('status').textContent");
    console.log(status);
    const [, name, share] = /^(.*), ([\d.]+) %, in [\d.]+ ms$/.exec(status) ?? [];
    const expected = (100 * Number(expectedProbability)).toFixed(1);
    if (name !== expectedClass || share !== expected) throw new Error(`expected ${expectedClass}, ${expected} %`);
  };
  const screenshot = async (name, width, scheme) => {
    if (!screenshots) return;
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await tab("Emulation.setEmulatedMedia", { features });
    await tab("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false });
    const { data } = await tab("Page.captureScreenshot", { captureBeyondViewport: true });
    writeFileSync(join(screenshots, `${name}.png`), Buffer.from(data, "base64"));
  };

  await tab("Page.enable");
  await tab("Page.navigate", { url: address });
  await until("the page", "document.readyState === 'complete' && document.getElementById('status') !== null");
  await classify();
  await screenshot("light", 1000, "light");
  await screenshot("dark", 1000, "dark");
  await screenshot("narrow", 400, "light");
  // The keyboard reaches everything, and the example is another picture.
  const reached = await value("[...document.querySelectorAll('input, button')].every((control) => control.tabIndex === 0)");
  if (!reached) throw new Error("a control cannot be reached by the keyboard");
  await value("document.getElementById('example').click()");
  await until("the example", "document.getElementById('status').textContent.startsWith('Trouser')");

  await value("navigator.serviceWorker.ready.then(() => true)");
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
  await value("window.old = true");
  await tab("Page.reload");
  await until("the page without a server", "!window.old && document.getElementById('status') !== null");
  await classify();
  console.log("the page works, and works without a server");
}

const failure = await Promise.race([
  main().then(() => null, (error) => error),
  new Promise((resolve) => setTimeout(resolve, 3 * PATIENCE, new Error("the browser does not answer"))),
]);
// Its processes end one by one, and write to the profile until then.
const ended = new Promise((resolve) => (browser.exitCode === null ? browser.on("exit", resolve) : resolve()));
send("Browser.close").catch(() => {});
await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 5_000))]);
browser.kill("SIGKILL");
server.close();
for (let attempt = 0; attempt < 50; attempt++) {
  try {
    rmSync(profile, { recursive: true, force: true });
    break;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
if (failure) {
  console.error(failure.message);
  process.exit(1);
}
process.exit(0);

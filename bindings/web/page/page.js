// The page: where pictures come from, and how answers are shown. The network runs in a worker.

const element = (id) => document.getElementById(id);
const shown = element("shown");
const seen = element("seen");
const video = element("video");
const rows = [];

/** Longest side of a picture that is classified; a larger one would fill the memory. */
const MOST = 8192;

/** The picture at hand: width, height, and its pixels. */
let picture = null;
/** Whether the worker is at work, and whether the picture changed meanwhile. */
let busy = false;
let changed = false;

const worker = new Worker("worker.js", { type: "module" });
worker.onerror = () => say("This browser cannot run the network: it needs WebAssembly with vectors, and workers of modules.");
worker.onmessage = ({ data }) => {
  if (data.kind === "open") opened(data);
  if (data.kind === "answer") answered(data);
  if (data.kind === "error") say(data.message);
  if (data.kind !== "open") {
    busy = false;
    if (changed) classify();
  }
};

function opened({ classes, accuracy, bytes, vectors }) {
  for (const name of classes) {
    const row = element("classes").tBodies[0].insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    const cell = row.insertCell();
    cell.innerHTML = '<div class="cell"><div class="track"><div></div></div><span class="share">–</span></div>';
    rows.push({ row, name, bar: cell.querySelector(".track > div"), share: cell.querySelector(".share") });
  }
  element("about").textContent =
    `AlexNet with linear layers of low rank, in 8-bit integers: ${(bytes / 1e6).toFixed(1)} MB, ` +
    `${(100 * accuracy).toFixed(1)} % of Fashion-MNIST's test images. ${vectors ? "Computed with vectors." : ""}`;
  if (!picture) say("Ready: choose, drop or draw a picture.");
}

function answered({ probabilities, best, input, milliseconds, doubt }) {
  rows.forEach(({ row, bar, share }, i) => {
    bar.style.width = `${100 * probabilities[i]}%`;
    share.textContent = `${(100 * probabilities[i]).toFixed(1)} %`;
    row.classList.toggle("best", i === best);
  });
  const context = seen.getContext("2d");
  const image = context.createImageData(seen.width, seen.height);
  input.forEach((value, i) => image.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
  context.putImageData(image, 0, 0);
  say(`${rows[best].name}, ${(100 * probabilities[best]).toFixed(1)} %, in ${milliseconds.toFixed(1)} ms`);
  const reasons = {
    "light border": "The border is light, where training images are black: the picture may show none of these things.",
    unsure: "No class is likely: the picture may show none of these things.",
  };
  element("doubt").hidden = !doubt;
  element("doubt").textContent = doubt ? reasons[doubt] : "";
}

function say(text) {
  element("status").textContent = text;
}

function classify() {
  if (!picture) return;
  changed = busy;
  if (busy) return;
  busy = true;
  worker.postMessage({ ...picture, invert: element("invert").checked });
}

/** Takes the pixels of an image, video or canvas. */
function take(source, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.drawImage(source, 0, 0, width, height);
  picture = { width, height, rgba: context.getImageData(0, 0, width, height).data };
  classify();
}

/** Shows an image, whole, in the square of the picture. */
function show(source, width, height) {
  const context = shown.getContext("2d");
  const scale = Math.min(shown.width / width, shown.height / height);
  context.fillRect(0, 0, shown.width, shown.height);
  context.imageSmoothingEnabled = scale < 1;
  const [w, h] = [width * scale, height * scale];
  context.drawImage(source, (shown.width - w) / 2, (shown.height - h) / 2, w, h);
}

async function open(file) {
  stop();
  try {
    // Without colour management, as infer-cli reads files.
    const image = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    if (Math.max(image.width, image.height) > MOST) {
      say(`${file.name}: ${image.width} × ${image.height} pixels; at most ${MOST} a side can be classified here.`);
      return;
    }
    shown.setAttribute("aria-label", `The picture ${file.name}`);
    show(image, image.width, image.height);
    take(image, image.width, image.height);
  } catch (error) {
    say(`${file.name || "The file"}: this browser cannot read it as a picture: ${error.message}`);
  }
}

/** Ends camera and drawing. */
function stop() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  press("camera", false);
  press("draw", false);
}

function press(id, pressed) {
  element(id).setAttribute("aria-pressed", String(pressed));
  if (id === "draw") shown.classList.toggle("drawing", pressed);
}

const pressed = (id) => element(id).getAttribute("aria-pressed") === "true";

element("file").onchange = (event) => event.target.files[0] && open(event.target.files[0]);
element("invert").onchange = classify;
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((file) => file.type.startsWith("image/"));
  if (file) open(file);
});

element("camera").onclick = async () => {
  const start = !pressed("camera");
  stop();
  if (!start) return;
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    await video.play();
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`);
    return;
  }
  press("camera", true);
  const frame = () => {
    if (!video.srcObject) return;
    const side = Math.min(video.videoWidth, video.videoHeight);
    const square = new OffscreenCanvas(side, side);
    square.getContext("2d").drawImage(video, (side - video.videoWidth) / 2, (side - video.videoHeight) / 2);
    show(square, side, side);
    if (!busy) take(square, side, side);
    setTimeout(frame, 100);
  };
  frame();
};

element("draw").onclick = () => {
  const start = !pressed("draw");
  stop();
  press("draw", start);
  if (!start) return;
  shown.getContext("2d").fillRect(0, 0, shown.width, shown.height);
  shown.setAttribute("aria-label", "Your drawing");
  say("Draw with the pointer, light on black.");
};
let last = null;
shown.onpointerdown = (event) => {
  if (!pressed("draw")) return;
  shown.setPointerCapture(event.pointerId);
  last = event;
  stroke(event);
};
shown.onpointermove = (event) => last && stroke(event);
shown.onpointerup = shown.onpointercancel = () => (last = null);

function stroke(event) {
  const box = shown.getBoundingClientRect();
  const at = ({ clientX, clientY }) => [((clientX - box.x) / box.width) * shown.width, ((clientY - box.y) / box.height) * shown.height];
  const context = shown.getContext("2d");
  Object.assign(context, { strokeStyle: "#ccc", lineWidth: 24, lineCap: "round" });
  context.beginPath();
  context.moveTo(...at(last));
  context.lineTo(...at(event));
  context.stroke();
  last = event;
  take(shown, shown.width, shown.height);
}

element("example").onclick = () => {
  stop();
  // A pair of trousers.
  const canvas = new OffscreenCanvas(28, 28);
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, 28, 28);
  context.fillStyle = "#c8c8c8";
  context.fillRect(8, 0, 12, 28);
  context.fillStyle = "#000";
  context.fillRect(13, 9, 2, 19);
  shown.setAttribute("aria-label", "A pair of trousers, drawn");
  show(canvas, 28, 28);
  take(canvas, 28, 28);
};

// Only pages of this machine and those that are sent encrypted may have one.
navigator.serviceWorker?.register("offline.js");

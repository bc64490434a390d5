// Keeps the page's files, so that it works without a network: what is new is fetched, what cannot be fetched comes from the cache.
const FILES = ["./", "style.css", "page.js", "network.js", "worker.js", "alexnet.wasm"];
const CACHE = "alexnet";

self.addEventListener("install", (event) => event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES))));

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  event.respondWith(
    fetch(event.request)
      .then(async (response) => {
        if (response.ok) (await caches.open(CACHE)).put(event.request, response.clone());
        return response;
      })
      .catch(async (error) => (await caches.match(event.request)) ?? Promise.reject(error)),
  );
});

// Reads values off curves, and shows the images behind a cell of the matrix. Without it, the page shows all the rest.
"use strict";

for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const { x, y, field, unit, series } = JSON.parse(figure.dataset.chart);
  const [left, right, top, bottom] = field;
  const svg = figure.querySelector("svg");
  const reading = figure.querySelector(".reading");
  const hidden = new Set();
  const cursor = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "g"));
  const horizontal = (value) => left + ((value - x[0]) / (x[1] - x[0])) * (right - left);
  const vertical = (value) => bottom - ((value - y[0]) / (y[1] - y[0])) * (bottom - top);
  const places = () => {
    const shown = series.filter((_, number) => !hidden.has(number));
    return [...new Set(shown.flatMap((one) => one.points.map((point) => point[0])))].sort((a, b) => a - b);
  };
  let at = null;

  const show = (place) => {
    at = place;
    cursor.replaceChildren();
    reading.textContent = "";
    if (place === null) return;
    const draw = (name, attributes) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      cursor.append(element);
    };
    draw("path", { d: `M${horizontal(place)} ${top}V${bottom}`, class: "cursor" });
    reading.append(`${unit} ${Number(place.toFixed(2))}: `);
    series.forEach((one, number) => {
      const point = one.points.find((point) => point[0] === place);
      if (hidden.has(number) || !point) return;
      draw("circle", { cx: horizontal(point[0]), cy: vertical(point[1]), r: 5, style: `color:${one.colour}` });
      const label = document.createElement("span");
      label.style.borderColor = one.colour;
      label.textContent = `${one.name} ${point[2]}`;
      reading.append(label, " ");
    });
  };

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const pointed = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const near = places().sort((a, b) => Math.abs(horizontal(a) - pointed) - Math.abs(horizontal(b) - pointed));
    show(near.length ? near[0] : null);
  });
  svg.addEventListener("pointerleave", () => show(null));
  svg.addEventListener("blur", () => show(null));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const all = places();
    const now = all.indexOf(at);
    const next = now < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(now + step, 0), all.length - 1);
    show(all.length ? all[next] : null);
  });
  for (const button of figure.querySelectorAll("button[data-series]")) {
    button.addEventListener("click", () => {
      const number = Number(button.dataset.series);
      if (!hidden.delete(number)) hidden.add(number);
      button.setAttribute("aria-pressed", String(!hidden.has(number)));
      svg.querySelector(`g[data-series="${number}"]`).style.display = hidden.has(number) ? "none" : "";
      show(null);
    });
  }
}

const behind = document.getElementById("behind");
if (behind) {
  const { names, cells, pictures } = JSON.parse(document.getElementById("cells").textContent);
  let pressed = null;
  for (const button of document.querySelectorAll("button[data-cell]")) {
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      pressed?.setAttribute("aria-pressed", "false");
      pressed = button;
      button.setAttribute("aria-pressed", "true");
      const [label, predicted] = button.dataset.cell.split(",");
      const images = cells[button.dataset.cell] ?? [];
      const heading = document.createElement("p");
      const taken = label === predicted ? "rightly told" : `taken for ${names[predicted]}`;
      heading.textContent = `${names[label]}, ${taken}: ${images.length} of ${button.textContent}, the least likely first.`;
      behind.replaceChildren(heading);
      for (const [position, name, probability] of images) {
        const figure = document.createElement("figure");
        const image = document.createElement("img");
        image.src = `data:image/png;base64,${pictures[position]}`;
        image.alt = name;
        const caption = document.createElement("figcaption");
        caption.textContent = `${probability}, ${name}`;
        figure.append(image, caption);
        behind.append(figure);
      }
    });
  }
}

// Flame graphs: how long was held, or waited, where. Process, thread, place in Python code, native functions, from above to below.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const FLAME = { width: 1200, row: 19, narrowest: 0.4, letter: 6.7 };

function svgElement(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A tree of what was spent: { text, value, children }, the largest children first.
function flameTree(paths, weight) {
  const root = { text: "all threads", value: 0, children: new Map() };
  for (const path of paths) {
    if (!path[weight]) continue;
    const steps = [...(path.process === undefined ? [] : [`process ${path.process}`]), path.thread, ...path.steps.map((step) => step.text)];
    let node = root;
    node.value += path[weight];
    for (const text of steps) {
      if (!node.children.has(text)) node.children.set(text, { text, value: 0, children: new Map() });
      node = node.children.get(text);
      node.value += path[weight];
    }
  }
  const settle = (node, parent) => {
    node.parent = parent;
    node.children = [...node.children.values()].sort((one, other) => other.value - one.value);
    for (const child of node.children) settle(child, node);
  };
  settle(root, null);
  return root;
}

function depthOf(node) {
  return 1 + Math.max(0, ...node.children.map(depthOf));
}

// Draws a tree as an SVG in which a click, or Enter, shows a part of it as the whole.
function flameGraph(root, kind, title) {
  const svg = svgElement("svg", { class: `flames ${kind}`, role: "group", "aria-label": title });
  const depth = depthOf(root);
  svg.setAttribute("viewBox", `0 0 ${FLAME.width} ${depth * FLAME.row}`);
  const bar = (node, from, level, scale, shown) => {
    const width = node.value * scale;
    if (width < FLAME.narrowest) return;
    const share = `${formatDuration(node.value)}, ${formatPercent(node.value / root.value)} of all`;
    const letters = Math.floor((width - 6) / FLAME.letter);
    const text = node.text.length <= letters ? node.text : letters > 3 ? `${node.text.slice(0, letters - 1)}…` : "";
    const group = svgElement(
      "g",
      { tabindex: 0, role: "button", "aria-label": `${node.text}: ${share}`, "data-level": level % 4 },
      svgElement("title", {}, `${node.text}\n${share}`),
      svgElement("rect", { x: from, y: level * FLAME.row, width: Math.max(0, width - 0.6), height: FLAME.row - 1, rx: 2 }),
      ...(text ? [svgElement("text", { x: from + 4, y: level * FLAME.row + 13 }, text)] : []),
    );
    const choose = () => draw(node === shown && node.parent ? node.parent : node);
    group.addEventListener("click", choose);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose();
      }
    });
    svg.append(group);
    let next = from;
    for (const child of node.children) {
      bar(child, next, level + 1, scale, shown);
      next += child.value * scale;
    }
  };
  const draw = (shown) => {
    svg.replaceChildren();
    const above = [];
    for (let node = shown.parent; node; node = node.parent) above.unshift(node);
    above.forEach((node, level) => bar({ ...node, value: shown.value, children: [], parent: node.parent }, 0, level, FLAME.width / shown.value, null));
    // What is above keeps its own figures and, chosen, is shown again.
    [...svg.children].forEach((group, level) => {
      const { text, value } = above[level];
      const share = `${formatDuration(value)}, ${formatPercent(value / root.value)} of all`;
      group.querySelector("title").textContent = `${text}\n${share}`;
      group.setAttribute("aria-label", `${text}: ${share}`);
      group.addEventListener("click", (event) => (event.stopImmediatePropagation(), draw(above[level])), { capture: true });
    });
    bar(shown, 0, above.length, FLAME.width / shown.value, shown);
  };
  draw(root);
  return svg;
}

function flamesOf(paths) {
  const graph = (weight, kind, title) => {
    const root = flameTree(paths, weight);
    return root.value ? [element("h3", { textContent: `${title}: ${formatDuration(root.value)}` }), flameGraph(root, kind, title)] : [];
  };
  const graphs = [...graph("hold_ns", "hold", "Held"), ...graph("wait_ns", "wait", "Waited")];
  document
    .getElementById("flames")
    .replaceChildren(
      ...(graphs.length
        ? [
            element("h2", { textContent: "Where" }),
            element("p", { className: "hint", textContent: "The wider, the longer. A hold is where it ended, a wait where it began. Choose a bar to see it as the whole, and again to go back." }),
            ...graphs,
          ]
        : []),
    );
}

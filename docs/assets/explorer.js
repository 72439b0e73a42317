// The explorer: the setting lives in `at` (an index for each axis) and in the address; everything drawn follows from it.
"use strict";

(function () {
  const data = window.explorerData;
  const root = document.getElementById("explorer-page");
  const AXES = Object.keys(data.axes);
  const WORDS = {
    num_concepts: "number of concepts K",
    weakness: "kind of weak teacher",
    weak_accuracy: "weak accuracy",
    sample_size: "sample size n (weak labels)",
    concept_shift: "concept shift",
    num_icl: "examples in the prompt",
  };
  const START = { num_concepts: 4, weakness: "rotated", weak_accuracy: 0.7, sample_size: 1024, concept_shift: 0.5, num_icl: 16 };
  const SHOWN = ["weak", "naive_ft", "icl_refine_fresh", "ceiling"];
  const RIVALS = ["naive_ft", "icl_refine_fresh"];
  const at = {};
  const state = { x: "weak_accuracy", shown: new Set(SHOWN) };

  // --- the numbers -------------------------------------------------------------------------------------------------

  const value = (axis) => data.axes[axis][at[axis]];
  const place = (axes, where) => axes.reduce((i, axis) => i * data.axes[axis].length + where[axis], 0);

  function look(method, kind, where = at) {
    const held = data.methods[method];
    return held[kind] === null ? null : held[kind][place(["num_concepts", ...held.axes], where)];
  }

  // A method's number, which stands beside its curve and before its name in the table.
  const rank = (method) => Object.keys(data.methods).indexOf(method) + 1;
  const number = (x) => (x === 0 ? "0" : x < 0.001 ? x.toExponential(1) : Number(x.toPrecision(3)).toString());

  function gapRecovered(method) {
    const [weak, student, ceiling] = ["weak", method, "ceiling"].map((m) => look(m, "risk"));
    return weak > ceiling && !["weak", "ceiling", "source"].includes(method) ? (weak - student) / (weak - ceiling) : null;
  }

  function command() {
    const options = AXES.map((axis) => `--${axis.replaceAll("_", "-")} ${value(axis)}`);
    return `python -m sims.risk_sweep --preset quick ${options.join(" ")} --out results/point`;
  }

  function inWords() {
    const cell = place(AXES, at);
    const best = data.students[data.lowest[cell]];
    const lead = data.certain[cell] ? "its lead over the next is significant" : "its lead over the next is not significant (95%, paired)";
    const [naive, refined] = RIVALS.map((m) => look(m, "risk"));
    const ahead = refined < naive ? "refinement with fresh prompts is ahead of naive fine-tuning" : "naive fine-tuning is ahead of refinement with fresh prompts";
    return `Lowest risk: ${data.methods[best].label}, ${number(look(best, "risk"))}; ${lead}. Here ${ahead}: ${number(Math.min(naive, refined))} against ${number(Math.max(naive, refined))}.`;
  }

  // --- the address -------------------------------------------------------------------------------------------------

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const axis of AXES) {
      const texts = data.axes[axis].map(String);
      const asked = [given.get(axis), String(START[axis])].find((text) => texts.includes(text));
      at[axis] = asked === undefined ? texts.length >> 1 : texts.indexOf(asked);
    }
    if (AXES.slice(2).includes(given.get("x"))) state.x = given.get("x");
    if (given.has("show")) state.shown = new Set(given.get("show").split(",").filter((m) => m in data.methods));
  }

  function write() {
    const given = new URLSearchParams(AXES.map((axis) => [axis, value(axis)]));
    given.set("x", state.x);
    given.set("show", [...state.shown].join(","));
    history.replaceState(null, "", `#${given}`);
  }

  // --- elements ----------------------------------------------------------------------------------------------------

  function make(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "line", "path", "circle", "rect", "text", "title"].includes(name);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, held] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), held);
      else element.setAttribute(key, held);
    }
    element.append(...children);
    return element;
  }

  function control(axis) {
    const values = data.axes[axis];
    const output = make("output", { id: `of-${axis}` });
    const change = (event) => {
      at[axis] = Number(event.target.value);
      draw();
    };
    if (axis === "weakness") {
      const options = values.map((text, i) => make("option", { value: i }, text));
      return make("label", {}, WORDS[axis], output, make("select", { id: axis, onchange: change }, ...options));
    }
    const range = { id: axis, type: "range", min: 0, max: values.length - 1, step: 1, oninput: change };
    return make("label", {}, WORDS[axis], output, make("input", range));
  }

  function build() {
    const across = AXES.slice(2).map((axis) => make("option", { value: axis }, WORDS[axis]));
    const choose = (event) => {
      state.x = event.target.value;
      draw();
    };
    const form = make("form", { onsubmit: (event) => event.preventDefault() }, ...AXES.map(control));
    form.append(make("label", {}, "axis of the chart", make("select", { id: "x", onchange: choose }, ...across)));
    root.replaceChildren(
      form,
      make("div", {}, make("p", { class: "says", id: "says", "aria-live": "polite" }), make("div", { id: "chart" })),
      make("div", { class: "scroll wide", id: "numbers" }),
      make("div", { id: "map", class: "wide" }),
      make("div", { class: "command wide" }, make("code", { id: "command" }), make("button", { type: "button", id: "copy", onclick: copy }, "copy")),
    );
  }

  function copy() {
    const button = document.getElementById("copy");
    const done = (text) => {
      button.textContent = text;
      setTimeout(() => (button.textContent = "copy"), 1500);
    };
    if (!navigator.clipboard) done("select it");
    else navigator.clipboard.writeText(command()).then(() => done("copied"), () => done("select it"));
  }

  // --- the chart ---------------------------------------------------------------------------------------------------

  const HEIGHT = 380, LEFT = 52, TOP = 14, BOTTOM = 44, NARROW = 500;
  let WIDTH, RIGHT; // by the room that there is

  function chart(room) {
    WIDTH = Math.min(Math.max(room, 320), 700);
    RIGHT = WIDTH < NARROW ? 30 : 180;
    const axis = state.x, places = data.axes[axis].map((_, i) => ({ ...at, [axis]: i }));
    const shown = Object.keys(data.methods).filter((m) => state.shown.has(m));
    const risks = shown.flatMap((m) => places.map((where) => look(m, "risk", where))).filter((x) => x > 1e-6);
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": "chart-title" });
    svg.append(make("title", { id: "chart-title" }, `Excess risk by ${WORDS[axis]}; the table below holds the numbers of the setting.`));
    if (!risks.length) return svg;
    const low = Math.log10(Math.min(...risks)) - 0.06, high = Math.log10(Math.max(...risks)) + 0.06;
    const x = (i) => LEFT + ((i + 0.5) / places.length) * (WIDTH - LEFT - RIGHT);
    const y = (risk) => TOP + (1 - (Math.log10(Math.max(risk, 1e-9)) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const inside = (risk) => risk !== null && Math.log10(risk) >= low && Math.log10(risk) <= high;
    svg.append(...gridLines(low, high, y), ...xMarks(axis, x));
    for (const method of shown) svg.append(curve(method, places, x, y, inside));
    svg.append(...names(shown, places, y));
    return svg;
  }

  function gridLines(low, high, y) {
    const steps = high - low > 2.5 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
    const found = [make("text", { x: LEFT - 40, y: TOP - 3 }, "excess risk")];
    for (let decade = Math.floor(low); decade <= high; decade++) {
      for (const step of steps) {
        const risk = step * 10 ** decade;
        if (Math.log10(risk) < low || Math.log10(risk) > high) continue;
        found.push(make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(risk), y2: y(risk), stroke: "#ddd" }));
        found.push(make("text", { x: LEFT - 6, y: y(risk) + 4, "text-anchor": "end" }, number(risk)));
      }
    }
    return found;
  }

  function xMarks(axis, x) {
    const half = (x(1) - x(0)) / 2 || (WIDTH - LEFT - RIGHT) / 2;
    const found = data.axes[axis].flatMap((text, i) => [
      make("rect", {
        x: x(i) - half, width: 2 * half, y: TOP, height: HEIGHT - TOP - BOTTOM,
        fill: i === at[axis] ? "rgba(0, 114, 178, 0.09)" : "transparent", style: "cursor: pointer",
        onclick: () => { at[axis] = i; draw(); },
      }),
      make("text", { x: x(i), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, String(text)),
    ]);
    const middle = LEFT + (WIDTH - LEFT - RIGHT) / 2;
    return [...found, make("text", { x: middle, y: HEIGHT - 8, "text-anchor": "middle" }, WORDS[axis])];
  }

  function curve(method, places, x, y, inside) {
    const { color } = data.methods[method];
    const group = make("g", { "pointer-events": "none" });
    const theory = places.map((where, i) => [x(i), look(method, "theory", where)]).filter(([, risk]) => inside(risk));
    const path = theory.map(([across, risk], i) => `${i ? "L" : "M"}${across} ${y(risk)}`).join("");
    if (path) group.append(make("path", { d: path, fill: "none", stroke: color, "stroke-width": 1.6 }));
    places.forEach((where, i) => {
      const risk = look(method, "risk", where), error = look(method, "error", where);
      if (!inside(risk)) return;
      if (error > 0) {
        const ends = [Math.max(risk - error, risk / 50), risk + error].map(y);
        group.append(make("line", { x1: x(i), x2: x(i), y1: ends[0], y2: ends[1], stroke: color, "stroke-width": 1.4 }));
      }
      const fill = error === null ? "white" : color;
      group.append(make("circle", { cx: x(i), cy: y(risk), r: 3.6, fill, stroke: color, "stroke-width": 1.4 }));
    });
    return group;
  }

  // The names of the curves at their right ends, moved apart where they would overlap, with a thin leader.
  function names(shown, places, y) {
    const ends = shown.map((m) => ({ m, to: Math.min(Math.max(y(look(m, "risk", places.at(-1))), TOP + 5), HEIGHT - BOTTOM) }));
    ends.sort((a, b) => a.to - b.to);
    let last = -Infinity;
    for (const end of ends) last = end.y = Math.max(end.to, last + 13);
    let below = HEIGHT - BOTTOM + 6;
    for (const end of ends.toReversed()) below = (end.y = Math.min(end.y, below)) - 13;
    const from = WIDTH - RIGHT;
    return ends.flatMap((end) => [
      make("line", { x1: from, x2: from + 9, y1: end.to, y2: end.y, stroke: data.methods[end.m].color }),
      make("text", { x: from + 12, y: end.y + 4 }, WIDTH < NARROW ? `${rank(end.m)}` : `${rank(end.m)} ${data.methods[end.m].label}`),
    ]);
  }

  // --- the table and the map ---------------------------------------------------------------------------------------

  function table() {
    const head = ["method", "risk, simulated", "95%", "closed form", "PGR"].map((text) => make("th", { scope: "col" }, text));
    const best = data.students[data.lowest[place(AXES, at)]];
    const rows = Object.entries(data.methods).map(([method, { label, color }]) => {
      const toggle = (event) => {
        state.shown[event.target.checked ? "add" : "delete"](method);
        draw();
      };
      const box = make("input", { type: "checkbox", id: `show-${method}`, onchange: toggle });
      box.checked = state.shown.has(method);
      const swatch = make("span", { class: "swatch", style: `background: ${color}` });
      const [risk, error, theory] = ["risk", "error", "theory"].map((kind) => look(method, kind));
      const gap = gapRecovered(method);
      const cells = [
        number(risk),
        error === null ? "few replicates" : error === 0 ? "exact" : `± ${number(error)}`,
        theory === null ? "" : number(theory),
        gap === null ? "" : gap.toFixed(2),
      ];
      const attributes = { "data-method": method, ...(method === best && { class: "lowest" }) };
      const name = make("td", {}, make("label", {}, box, swatch, `${rank(method)} ${label}` + (method === best ? " (lowest)" : "")));
      return make("tr", attributes, name, ...cells.map((text) => make("td", {}, text)));
    });
    return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  }

  function map() {
    const accuracies = data.axes.weak_accuracy, shifts = data.axes.concept_shift;
    const wide = 46, high = 26, left = 52, top = 20;
    const size = [left + wide * accuracies.length + 250, top + high * shifts.length + 40];
    const svg = make("svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, role: "img", "aria-labelledby": "map-title" });
    svg.append(make("title", { id: "map-title" }, "Where refinement (R) or naive fine-tuning (N) has the lower risk, by weak accuracy and concept shift."));
    accuracies.forEach((a, i) => shifts.forEach((s, j) => {
      const where = { ...at, weak_accuracy: i, concept_shift: j };
      const [naive, refined] = RIVALS.map((m) => look(m, "risk", where));
      const [n, r] = RIVALS.map((m) => look(m, "theory", where));
      const decades = Math.log10(naive / refined);
      const strength = Math.min(Math.abs(decades) / 1.5, 1);
      const fill = `rgba(${decades > 0 ? "0, 114, 178" : "213, 94, 0"}, ${0.08 + 0.7 * strength})`;
      const [x, y] = [left + wide * i, top + high * (shifts.length - 1 - j)];
      const here = i === at.weak_accuracy && j === at.concept_shift;
      const letter = (decades > 0 ? "R" : "N") + (n > r === decades > 0 ? "" : "*");
      svg.append(
        make("rect", {
          x, y, width: wide, height: high, fill, stroke: "white", style: "cursor: pointer",
          onclick: () => { at.weak_accuracy = i; at.concept_shift = j; draw(); },
        }),
        make("text", { x: x + wide / 2, y: y + high / 2 + 4, "text-anchor": "middle", "pointer-events": "none", "font-weight": here ? "bold" : "normal" }, letter),
      );
    }));
    accuracies.forEach((a, i) => svg.append(make("text", { x: left + wide * (i + 0.5), y: size[1] - 24, "text-anchor": "middle" }, String(a))));
    shifts.forEach((s, j) => svg.append(make("text", { x: left - 6, y: top + high * (shifts.length - 0.5 - j) + 4, "text-anchor": "end" }, String(s))));
    const corner = { x: left + wide * at.weak_accuracy, y: top + high * (shifts.length - 1 - at.concept_shift) };
    svg.append(make("rect", { ...corner, width: wide, height: high, fill: "none", stroke: "black", "stroke-width": 2.5 }));
    const beside = left + wide * accuracies.length + 14;
    ["R: refinement with fresh prompts is lower", "N: naive fine-tuning is lower", "* the closed forms say the other", "deeper colour: by a larger factor", "frame: the setting"].forEach((text, i) =>
      svg.append(make("text", { x: beside, y: top + 14 + 19 * i }, text)));
    svg.append(make("text", { x: 4, y: 12 }, "concept shift"), make("text", { x: left + (wide * accuracies.length) / 2, y: size[1] - 6, "text-anchor": "middle" }, "weak accuracy"));
    return svg;
  }

  // --- together ----------------------------------------------------------------------------------------------------

  function draw() {
    write();
    for (const axis of AXES) {
      document.getElementById(axis).value = at[axis];
      document.getElementById(axis).setAttribute("aria-valuetext", value(axis));
      document.getElementById(`of-${axis}`).textContent = axis === "weakness" ? "" : value(axis);
    }
    document.getElementById("x").value = state.x;
    document.getElementById("says").textContent = inWords();
    document.getElementById("chart").replaceChildren(chart(document.getElementById("chart").clientWidth));
    const focused = document.activeElement && document.activeElement.id;
    document.getElementById("numbers").replaceChildren(table());
    if (focused) document.getElementById(focused)?.focus();
    document.getElementById("map").replaceChildren(map());
    document.getElementById("command").textContent = command();
  }

  read();
  build();
  draw();
  window.addEventListener("resize", draw);
  window.addEventListener("hashchange", () => { read(); draw(); });
})();

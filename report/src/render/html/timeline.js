// Draws the lanes and lets one move about in them: mouse, wheel, touch, keyboard.
"use strict";

const LANE_HEIGHT = 24;
// No canvas is higher than these on a screen of two pixels to a point.
const MOST_LANES = 600;
const RULER_HEIGHT = 22;
const SHORTEST_SPAN = 200;

class TimelineView {
  constructor(timeline, series, changed) {
    this.timeline = timeline;
    this.series = series;
    this.changed = changed;
    this.canvas = document.getElementById("timeline");
    this.overview = document.getElementById("overview");
    this.names = document.getElementById("lane-names");
    this.start = 0;
    this.span = timeline.duration;
    this.thresholdNs = 50e6;
    this.chosen = -1;
    this.event = null;
    this.strip = document.createElement("canvas");
    this.order = timeline.lanes.map((_, place) => place);
    const weight = (lane) => lane.levels.at(-1).hold.reduce((sum, part) => sum + part, 0);
    const weights = timeline.lanes.map(weight);
    this.order.sort((one, other) => weights[other] - weights[one] || one - other);
    this.filter("");
    this.setThreshold(this.thresholdNs);
  }

  filter(text) {
    const wanted = text.trim().toLowerCase();
    const lanes = this.timeline.lanes;
    const found = this.order.filter((place) => !wanted || `${lanes[place].label} ${lanes[place].tid}`.toLowerCase().includes(wanted));
    this.shown = found.slice(0, MOST_LANES);
    this.names.replaceChildren(
      ...this.shown.map((place) => {
        const lane = lanes[place];
        return element("li", { textContent: lane.label, title: `${lane.label}, tid ${lane.tid}, process ${lane.pid}`, dataset: { place } });
      }),
    );
    if (!this.shown.includes(this.chosen)) this.chosen = -1;
    this.markChosen();
    this.draw();
  }

  // The long ones are picked out once, so that a frame looks only at those it draws.
  setThreshold(ns) {
    this.thresholdNs = ns;
    for (const lane of this.timeline.lanes) {
      for (const state of ["holds", "waits"]) {
        const events = lane[state];
        const long = [];
        for (let at = 0; at < events.length; at++) if (events.end[at] - events.start[at] >= ns) long.push(at);
        lane[`${state}Long`] = long;
      }
    }
    this.draw();
  }

  show(start, span) {
    const duration = this.timeline.duration;
    this.span = Math.min(duration, Math.max(Math.min(SHORTEST_SPAN, duration), span));
    this.start = Math.min(duration - this.span, Math.max(0, start));
    this.draw();
    this.changed(this);
  }

  zoom(factor, center = this.start + this.span / 2) {
    const span = Math.min(this.timeline.duration, Math.max(SHORTEST_SPAN, this.span * factor));
    this.show(center - ((center - this.start) / this.span) * span, span);
  }

  choose(place) {
    this.chosen = place;
    this.event = null;
    this.markChosen();
    this.draw();
    this.changed(this);
  }

  markChosen() {
    for (const name of this.names.children) {
      name.setAttribute("aria-current", String(Number(name.dataset.place) === this.chosen));
    }
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const began = performance.now();
    const colors = (this.colors ??= readColors());
    this.width = this.canvas.parentElement.clientWidth - this.names.offsetWidth;
    const height = RULER_HEIGHT + this.shown.length * LANE_HEIGHT;
    const context = sized(this.canvas, this.width, height);
    context.fillStyle = colors.panel;
    context.fillRect(0, 0, this.width, height);
    this.paintCells(context, colors);
    this.shown.forEach((place, row) => this.paintLane(context, colors, this.timeline.lanes[place], RULER_HEIGHT + row * LANE_HEIGHT));
    this.paintChosen(context, colors);
    this.paintRuler(context, colors, height);
    this.paintOverview(colors);
    this.canvas.dataset.start = this.start;
    this.canvas.dataset.span = this.span;
    this.canvas.dataset.paintMs = (performance.now() - began).toFixed(2);
  }

  // The share of time held and waited, a column a pixel, from the level whose cells are about a pixel wide. A row of pixels for each
  // half lane is written into a small picture that is then stretched: the cost does not depend on the number of events.
  paintCells(context, colors) {
    const { cell_ns: cellNs, first_cell_ns: firstNs, lanes } = this.timeline;
    const columns = Math.max(1, Math.round(this.width));
    const perColumn = this.span / columns;
    const level = Math.max(0, Math.floor(Math.log2(Math.max(1, perColumn / cellNs))));
    this.canvas.dataset.level = level;
    const rows = this.shown.length * 2;
    if (!rows) return;
    if (this.strip.width !== columns || this.strip.height !== rows) {
      this.strip.width = columns;
      this.strip.height = rows;
    }
    const strip = this.strip.getContext("2d");
    const image = strip.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    this.shown.forEach((place, row) => {
      const lane = lanes[place];
      const usable = Math.min(level, lane.levels.length - 1);
      const { hold, wait } = lane.levels[usable];
      const width = cellNs * 2 ** usable;
      for (let column = 0; column < columns; column++) {
        const time = this.start + column * perColumn;
        const from = Math.floor((time - firstNs) / width);
        const to = Math.max(from + 1, Math.min(from + 8, Math.ceil((time + perColumn - firstNs) / width)));
        let most = 0;
        let mostWait = 0;
        for (let cell = Math.max(0, from); cell < to && cell < hold.length; cell++) {
          if (hold[cell] > most) most = hold[cell];
          if (wait[cell] > mostWait) mostWait = wait[cell];
        }
        if (most) pixels[row * 2 * columns + column] = colors.holdRgb | (shade(most) << 24);
        if (mostWait) pixels[(row * 2 + 1) * columns + column] = colors.waitRgb | (shade(mostWait) << 24);
      }
    });
    strip.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    for (let row = 0; row < this.shown.length; row++) {
      const top = RULER_HEIGHT + row * LANE_HEIGHT;
      // Where single events are drawn, cells are only a hint of those that are not kept.
      context.globalAlpha = this.drawsEvents(lanes[this.shown[row]]) ? (this.isComplete() ? 0 : 0.35) : 1;
      context.drawImage(this.strip, 0, row * 2, columns, 1, 0, top + 2, this.width, LANE_HEIGHT / 2 - 2);
      context.drawImage(this.strip, 0, row * 2 + 1, columns, 1, 0, top + LANE_HEIGHT / 2, this.width, LANE_HEIGHT / 2 - 2);
    }
    context.globalAlpha = 1;
  }

  // Whether every event of the view is kept.
  isComplete() {
    const { kept_from_ns: keptFrom, complete } = this.timeline;
    return keptFrom === 0 || complete.some(([from, to]) => from <= this.start && this.start + this.span <= to);
  }

  // Few enough events to draw each of them.
  drawsEvents(lane) {
    const count = (events) => events.firstAfter(this.start + this.span) - events.firstAfter(this.start);
    return this.span / this.width < 4 * this.timeline.cell_ns && count(lane.holds) + count(lane.waits) < this.width * 2;
  }

  paintLane(context, colors, lane, top) {
    const half = LANE_HEIGHT / 2 - 2;
    const single = this.drawsEvents(lane);
    const end = this.start + this.span;
    const scale = this.width / this.span;
    const bar = (events, at, y) => {
      const x = (Math.max(events.start[at], this.start) - this.start) * scale;
      const width = Math.max(1, (Math.min(events.end[at], end) - this.start) * scale - x);
      context.fillRect(x, y, width, half);
    };
    for (const [state, y, usual, dark] of [
      ["holds", top + 2, colors.hold, colors.holdLong],
      ["waits", top + LANE_HEIGHT / 2, colors.wait, colors.waitLong],
    ]) {
      const events = lane[state];
      if (single) {
        context.fillStyle = usual;
        for (let at = events.firstAfter(this.start); at < events.length && events.start[at] < end; at++) bar(events, at, y);
      }
      context.fillStyle = dark;
      const long = lane[`${state}Long`];
      let low = 0;
      for (let high = long.length; low < high; ) {
        const middle = (low + high) >> 1;
        if (events.end[long[middle]] > this.start) high = middle;
        else low = middle + 1;
      }
      // At most one bar a pixel: what would be drawn over the last one is left out.
      let drawnTo = -Infinity;
      for (; low < long.length && events.start[long[low]] < end; low++) {
        if (events.end[long[low]] < drawnTo) continue;
        bar(events, long[low], y);
        drawnTo = events.end[long[low]] + 0.5 / scale;
      }
    }
    context.fillStyle = colors.line;
    context.globalAlpha = 0.45;
    context.fillRect(0, top + LANE_HEIGHT - 1, this.width, 1);
    context.globalAlpha = 1;
  }

  paintChosen(context, colors) {
    const row = this.shown.indexOf(this.chosen);
    if (row < 0) return;
    const top = RULER_HEIGHT + row * LANE_HEIGHT;
    context.strokeStyle = colors.focus;
    context.lineWidth = 1;
    context.strokeRect(0.5, top + 0.5, this.width - 1, LANE_HEIGHT - 1);
    if (!this.event) return;
    const { events, at, wait } = this.event;
    const scale = this.width / this.span;
    context.lineWidth = 2;
    const x = (events.start[at] - this.start) * scale;
    context.strokeRect(x - 1, top + (wait ? LANE_HEIGHT / 2 : 2) - 1, Math.max(3, (events.end[at] - events.start[at]) * scale + 2), LANE_HEIGHT / 2);
  }

  paintRuler(context, colors, height) {
    const step = niceStep(this.span / Math.max(2, this.width / 130));
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let time = Math.ceil(this.start / step) * step; time <= this.start + this.span; time += step) {
      const x = Math.round(((time - this.start) / this.span) * this.width) + 0.5;
      context.fillStyle = colors.line;
      context.globalAlpha = 0.6;
      context.fillRect(x, RULER_HEIGHT - 5, 1, height);
      context.globalAlpha = 1;
      context.fillStyle = colors.faint;
      const label = formatMoment(time, step * 4);
      if (x + 4 + label.length * 6 < this.width) context.fillText(label, x + 4, RULER_HEIGHT / 2);
    }
  }

  // Utilisation (from below) and waiting threads (a line), over everything, with the view marked in it.
  paintOverview(colors) {
    const width = this.overview.clientWidth;
    const height = 56;
    const context = sized(this.overview, width, height);
    context.clearRect(0, 0, width, height);
    const { series } = this;
    const scale = width / this.timeline.duration;
    if (series) {
      const bucket = 2 ** series.width_log2;
      const first = series.first * bucket - this.timeline.start_ns;
      const mostWait = Math.max(bucket, ...series.wait_ns);
      const step = Math.max(1, bucket * scale);
      context.fillStyle = colors.holdLong;
      context.globalAlpha = 0.75;
      series.hold_ns.forEach((hold, at) => {
        const high = (hold / bucket) * height;
        context.fillRect((first + at * bucket) * scale, height - high, step + 0.5, high);
      });
      context.globalAlpha = 1;
      context.strokeStyle = colors.waitLong;
      context.lineWidth = 1.5;
      context.beginPath();
      series.wait_ns.forEach((wait, at) => {
        context.lineTo((first + (at + 0.5) * bucket) * scale, height - 2 - (wait / mostWait) * (height - 6));
      });
      context.stroke();
      document.getElementById("scale").textContent = `▮ held, up to 100 %\n⁄ threads waiting,\nup to ${(mostWait / bucket).toFixed(1)}`;
    }
    const from = this.start * scale;
    const to = (this.start + this.span) * scale;
    context.fillStyle = colors.text;
    context.globalAlpha = 0.16;
    context.fillRect(0, 0, from, height);
    context.fillRect(to, 0, width - to, height);
    context.globalAlpha = 1;
    context.strokeStyle = colors.focus;
    context.lineWidth = 2;
    context.strokeRect(from + 1, 1, Math.max(2, to - from - 2), height - 2);
  }

  timeAt(x) {
    return this.start + (x / this.width) * this.span;
  }

  // What is under a point of the canvas: a lane, a state, and the event if it is kept.
  at(x, y) {
    const row = Math.floor((y - RULER_HEIGHT) / LANE_HEIGHT);
    if (row < 0 || row >= this.shown.length) return null;
    const lane = this.timeline.lanes[this.shown[row]];
    const wait = (y - RULER_HEIGHT) % LANE_HEIGHT >= LANE_HEIGHT / 2;
    const events = wait ? lane.waits : lane.holds;
    const time = this.timeAt(x);
    const slack = (1.5 / this.width) * this.span;
    const at = events.firstAfter(time - slack);
    const hit = at < events.length && events.start[at] <= time + slack;
    return { lane, wait, events, at: hit ? at : -1, time };
  }

  describe({ lane, wait, events, at, time }) {
    if (at < 0) return this.describeCell(lane, time);
    const from = events.start[at];
    const to = events.end[at];
    const lines = [
      `${lane.label} (tid ${lane.tid})`,
      `${wait ? "waited" : "held the GIL"} ${formatDuration(to - from)}${events.open(at) ? ", still open at the end" : ""}`,
      `at ${formatMoment(from, 1e3)}`,
    ];
    if (!wait && events.forced(at)) lines.push("ended because another thread asked for it");
    const others = this.others(lane, wait, from, to);
    const named = others.slice(0, 4).map(([label, part]) => `  ${label} ${formatDuration(part)}`);
    if (named.length) {
      lines.push(wait ? "held meanwhile by" : "waiting during it", ...named);
      if (others.length > 4) lines.push(`  and ${others.length - 4} more`);
    } else if (wait && events.holder(at) >= 0) {
      lines.push(`mostly behind ${this.timeline.lanes[events.holder(at)].label}`);
    } else if (this.isComplete()) {
      lines.push(wait ? "nobody was seen to hold it meanwhile" : "nobody waited during it");
    }
    return lines.join("\n");
  }

  // Who held the GIL during a wait, or who waited during a hold: most time first.
  others(lane, wait, from, to) {
    const parts = [];
    for (const other of this.timeline.lanes) {
      if (other === lane || other.gil !== lane.gil || other.pid !== lane.pid) continue;
      let sum = 0;
      (wait ? other.holds : other.waits).during(from, to, (_, part) => (sum += part));
      if (sum > 0) parts.push([other.label, sum]);
    }
    return parts.sort((one, other) => other[1] - one[1]);
  }

  describeCell(lane, time) {
    const { cell_ns: cellNs, first_cell_ns: firstNs } = this.timeline;
    const cell = Math.floor((time - firstNs) / cellNs);
    const { hold, wait } = lane.levels[0];
    if (this.isComplete() || !(hold[cell] || wait[cell])) return "";
    const part = (level) => formatDuration((level / 255) * cellNs);
    return `${lane.label} (tid ${lane.tid})\nin the ${formatDuration(cellNs)} around ${formatMoment(time, 1e6)}:\nheld about ${part(hold[cell])}, waited about ${part(wait[cell])}\n(single events this short are not kept here)`;
  }

  // The next or previous event of the chosen lane, holds and waits in turn.
  step(direction) {
    const lane = this.timeline.lanes[this.chosen];
    if (!lane) return null;
    const from = this.event ? this.event.events.start[this.event.at] : direction > 0 ? this.start - 1 : this.start + this.span;
    let best = null;
    for (const [events, wait] of [[lane.holds, false], [lane.waits, true]]) {
      let at = events.firstAfter(from);
      if (direction > 0) while (at < events.length && events.start[at] <= from) at++;
      else do at--; while (at >= 0 && events.start[at] >= from);
      if (at < 0 || at >= events.length) continue;
      if (!best || (events.start[at] - best.events.start[best.at]) * direction < 0) best = { lane, wait, events, at };
    }
    if (!best) return null;
    this.event = best;
    const start = best.events.start[best.at];
    const end = best.events.end[best.at];
    if (start < this.start || end > this.start + this.span) this.show((start + end) / 2 - this.span / 2, Math.max(this.span, (end - start) * 1.2));
    this.draw();
    return best;
  }
}

// Faint is still visible: a tenth of the time is not a tenth of the colour.
function shade(level) {
  return Math.min(255, 56 + Math.round(level * 0.78));
}

function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [pixelsWide, pixelsHigh] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixelsWide || canvas.height !== pixelsHigh) {
    canvas.width = pixelsWide;
    canvas.height = pixelsHigh;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const mantissa = rough / power;
  return power * (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10);
}

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  // As little-endian pixels without their opacity.
  const rgb = (hex) => {
    const value = parseInt(hex.slice(1), 16);
    return ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16);
  };
  return {
    panel: color("panel"), line: color("line"), faint: color("faint"), text: color("text"), focus: color("focus"),
    hold: color("hold"), holdLong: color("hold-long"), wait: color("wait"), waitLong: color("wait-long"),
    holdRgb: rgb(color("hold")), waitRgb: rgb(color("wait")),
  };
}

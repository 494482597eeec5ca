// Puts the page together and carries what the user does to the timeline.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const report = JSON.parse(byId("report").textContent);
  const root = document.documentElement;
  let view = null;
  let timelines = [];
  let writing = 0;

  function theme(wanted) {
    root.dataset.theme = wanted;
    if (view) {
      view.colors = null;
      view.draw();
    }
  }
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  theme(prefersDark.matches ? "dark" : "light");
  prefersDark.addEventListener("change", (event) => theme(event.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));

  verdictOf(report);
  figuresOf(report);
  adviceOf(report);
  flamesOf(JSON.parse(byId("paths").textContent));
  tablesOf(report);
  aboutOf(report);
  document.querySelector("main").hidden = false;
  document.body.classList.add("ready");

  timelines = readTimelines();
  if (!timelines.some((timeline) => timeline.lanes.length)) {
    byId("timeline-section").replaceChildren(
      element("h2", { textContent: "Timeline" }),
      element("p", { className: "hint", textContent: "There is none: a saved report holds sums, not events. Make the page from the trace itself." }),
    );
    document.body.dataset.loaded = "true";
    return;
  }
  startTimeline();

  function startTimeline() {
    const chooser = byId("session");
    document.body.classList.toggle("several", timelines.length > 1);
    chooser.replaceChildren(...timelines.map((timeline, value) => element("option", { value, textContent: `process ${timeline.lanes[0]?.pid ?? "?"}, ${formatDuration(timeline.duration)}` })));
    chooser.addEventListener("change", () => open(Number(chooser.value)));
    const wanted = fromHash();
    open(timelines[wanted.session] ? wanted.session : timelines.findIndex((timeline) => timeline.lanes.length));
    connect();
    window.addEventListener("hashchange", followHash);
    new ResizeObserver(() => view.draw()).observe(byId("lanes"));
    document.body.dataset.loaded = "true";
  }

  function open(place) {
    const timeline = timelines[place];
    byId("session").value = place;
    const session = report.sessions.find((session) => session.start_ns === timeline.start_ns && session.end_ns === timeline.end_ns);
    view = new TimelineView(timeline, busiestSeries(session), moved);
    view.place = place;
    view.setThreshold(Number(byId("threshold").value) * 1e6);
    const thinned = timeline.kept_from_ns > 0;
    document.body.classList.toggle("thinned", thinned);
    byId("thinned").textContent = thinned
      ? `Of ${formatCount(timeline.intervals)} holds and waits, ${formatCount(timeline.kept)} are kept one by one: all of ${formatDuration(timeline.kept_from_ns)} or more, and all in the ${timeline.complete.length} stretches with most waiting. Shorter ones elsewhere are kept as shares of ${formatDuration(timeline.cell_ns)}.`
      : `All ${formatCount(timeline.intervals)} holds and waits are in this file.`;
    if (timeline.lanes.length > MOST_LANES)
      byId("thinned").textContent += ` Of ${formatCount(timeline.lanes.length)} threads, at most ${MOST_LANES} are shown at once, those that hold most; search finds the others.`;
    byId("complete").replaceChildren(
      element("option", { value: "", textContent: "choose a stretch" }),
      ...timeline.complete.map(([start], value) => element("option", { value, textContent: formatMoment(start, 2e6) })),
    );
    followHash();
  }

  function busiestSeries(session) {
    const gils = session?.gils ?? [];
    const held = (gil) => gil.series.hold_ns.reduce((sum, hold) => sum + hold, 0);
    return gils.toSorted((one, other) => held(other) - held(one))[0]?.series;
  }

  // What is shown is in the address: #t=start,span in ns since tracing began, and the tid of the chosen thread.
  function moved() {
    byId("range").textContent = `${formatMoment(view.start, view.span)} to ${formatMoment(view.start + view.span, view.span)} (${formatDuration(view.span)})`;
    clearTimeout(writing);
    writing = setTimeout(() => {
      const chosen = view.timeline.lanes[view.chosen];
      const parts = [`t=${Math.round(view.start)},${Math.round(view.span)}`];
      if (chosen) parts.push(`tid=${chosen.tid}`);
      if (view.place) parts.push(`session=${view.place}`);
      history.replaceState(null, "", `#${parts.join("&")}`);
    }, 150);
  }

  function fromHash() {
    const parts = new URLSearchParams(location.hash.slice(1));
    const [start, span] = (parts.get("t") ?? "").split(",").map(Number);
    return { start, span, tid: Number(parts.get("tid") ?? NaN), session: Number(parts.get("session") ?? 0) };
  }

  function followHash() {
    const { start, span, tid } = fromHash();
    const place = view.timeline.lanes.findIndex((lane) => lane.tid === tid);
    if (place >= 0) view.choose(place);
    if (Number.isFinite(start) && span > 0) view.show(start, span);
    else view.show(0, view.timeline.duration);
  }

  function showTooltip(text, x, y) {
    const box = byId("tooltip");
    box.hidden = !text;
    if (!text) return;
    box.textContent = text;
    const { width, height } = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
    box.style.top = `${Math.max(4, y + 18 + height > innerHeight ? y - height - 12 : y + 18)}px`;
  }

  function connect() {
    const canvas = byId("timeline");
    const pointers = new Map();
    let pinch = null;
    const grip = () => {
      const [one, other] = [...pointers.values()];
      const middle = (one.x + other.x) / 2;
      return { distance: Math.max(10, Math.abs(one.x - other.x)), middle, span: view.span, time: view.timeAt(middle) };
    };

    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const pixels = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        view.show(view.start + (((event.deltaX || event.deltaY) * pixels) / view.width) * view.span, view.span);
      } else {
        view.zoom(Math.exp(Math.max(-250, Math.min(250, event.deltaY * pixels)) * 0.0024), view.timeAt(event.offsetX));
      }
    }, { passive: false });

    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY, moved: false });
      pinch = pointers.size === 2 ? grip() : null;
      canvas.classList.add("dragging");
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) {
        const under = view.at(event.offsetX, event.offsetY);
        showTooltip(under ? view.describe(under) : "", event.clientX, event.clientY);
        return;
      }
      showTooltip("");
      const before = { ...last };
      if (Math.hypot(event.offsetX - last.x, event.offsetY - last.y) > 2) last.moved = true;
      last.x = event.offsetX;
      last.y = event.offsetY;
      if (pointers.size === 1) {
        view.show(view.start - ((last.x - before.x) / view.width) * view.span, view.span);
        byId("lanes").scrollTop -= last.y - before.y;
      } else if (pinch) {
        // The two moments under the fingers stay there.
        const { distance, middle } = grip();
        const span = (pinch.span * pinch.distance) / distance;
        view.show(pinch.time - (middle / view.width) * span, span);
      }
    });
    const released = (event) => {
      const last = pointers.get(event.pointerId);
      pointers.delete(event.pointerId);
      pinch = null;
      if (!pointers.size) canvas.classList.remove("dragging");
      if (event.type !== "pointerup" || !last || last.moved) return;
      const under = view.at(event.offsetX, event.offsetY);
      if (!under) return;
      view.choose(under.lane.place);
      if (under.at >= 0) {
        view.event = under;
        announce(under);
      }
      view.draw();
    };
    canvas.addEventListener("pointerup", released);
    canvas.addEventListener("pointercancel", released);
    canvas.addEventListener("pointerleave", () => showTooltip(""));
    canvas.addEventListener("dblclick", (event) => {
      const under = view.at(event.offsetX, event.offsetY);
      if (under?.at >= 0) zoomTo(under);
      else view.zoom(0.4, view.timeAt(event.offsetX));
    });
    canvas.addEventListener("keydown", pressed);

    const overview = byId("overview");
    const center = (event) => view.show((event.offsetX / overview.clientWidth) * view.timeline.duration - view.span / 2, view.span);
    overview.addEventListener("pointerdown", (event) => {
      overview.setPointerCapture(event.pointerId);
      center(event);
    });
    overview.addEventListener("pointermove", (event) => event.buttons && center(event));

    byId("zoom-in").addEventListener("click", () => view.zoom(0.4));
    byId("zoom-out").addEventListener("click", () => view.zoom(2.5));
    byId("zoom-all").addEventListener("click", () => view.show(0, view.timeline.duration));
    byId("search").addEventListener("input", (event) => view.filter(event.target.value));
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "Escape") event.target.value = "";
      else if (event.key !== "Enter") return;
      view.filter(event.target.value);
      if (view.shown.length) view.choose(view.shown[0]);
      canvas.focus();
    });
    byId("threshold").addEventListener("input", (event) => {
      if (event.target.value !== "" && event.target.value >= 0) view.setThreshold(event.target.value * 1e6);
    });
    byId("complete").addEventListener("change", (event) => {
      const stretch = view.timeline.complete[event.target.value];
      if (stretch) view.show(stretch[0], stretch[1] - stretch[0]);
    });
    byId("lane-names").addEventListener("click", (event) => {
      if (event.target.dataset.place) view.choose(Number(event.target.dataset.place));
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.target.matches("input, select")) return;
      event.preventDefault();
      byId("search").focus();
    });
    document.addEventListener("click", (event) => {
      const { start, duration, tid } = event.target.dataset;
      if (!event.target.matches(".jump")) return;
      const place = view.timeline.lanes.findIndex((lane) => lane.tid === Number(tid));
      if (place >= 0) view.choose(place);
      view.show(Number(start) - Number(duration) * 0.3, Number(duration) * 1.6);
      byId("timeline-section").scrollIntoView({ block: "start" });
      canvas.focus({ preventScroll: true });
    });
  }

  function zoomTo({ events, at }) {
    const duration = Math.max(SHORTEST_SPAN / 2, events.end[at] - events.start[at]);
    view.show(events.start[at] - duration * 0.3, duration * 1.6);
  }

  function announce(event) {
    byId("announce").textContent = view.describe({ ...event, time: event.events.start[event.at] });
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = view.span * (event.shiftKey ? 0.8 : 0.15);
    const choose = (by) => {
      const row = view.shown.indexOf(view.chosen);
      const place = view.shown[Math.max(0, Math.min(view.shown.length - 1, row < 0 ? 0 : row + by))];
      if (place === undefined) return;
      view.choose(place);
      byId("announce").textContent = view.timeline.lanes[place].label;
    };
    const go = (direction) => {
      if (view.chosen < 0) choose(0);
      const found = view.step(direction);
      if (found) announce(found);
    };
    const actions = {
      ArrowLeft: () => view.show(view.start - step, view.span),
      ArrowRight: () => view.show(view.start + step, view.span),
      ArrowUp: () => choose(-1),
      ArrowDown: () => choose(1),
      "+": () => view.zoom(0.6),
      "=": () => view.zoom(0.6),
      "-": () => view.zoom(1 / 0.6),
      0: () => view.show(0, view.timeline.duration),
      Home: () => view.show(0, view.span),
      End: () => view.show(view.timeline.duration, view.span),
      n: () => go(1),
      p: () => go(-1),
      Enter: () => view.event && zoomTo(view.event),
      Escape: () => view.choose(-1),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
})();

// Verdict, figures, tables and histograms, out of the report's JSON.
"use strict";

const SIGNS = { gil_bound: "✖", contended: "▲", stalled: "▲", not_the_gil: "✔", unknown: "?" };

function verdictOf(report) {
  const box = document.getElementById("verdict");
  box.className = report.verdict.kind;
  const losses = report.sessions.flatMap((session) => {
    const { lost, late, causes } = session.losses;
    const missing = lost + late + session.losses.beyond_limits;
    return missing ? [`${formatCount(missing)} events are missing${causes.length ? ` (${causes.map(plainName).join("; ")})` : ""}: counts and sums are lower bounds`] : [];
  });
  box.replaceChildren(
    element("h1", { textContent: report.verdict.line, dataset: { sign: SIGNS[report.verdict.kind] } }),
    element("p", { textContent: `Rule: ${report.verdict.rule}.` }),
    ...losses.map((textContent) => element("p", { className: "loss", textContent })),
  );
}

function gilOf(report, answer) {
  const session = report.sessions[answer.session];
  return { session, gil: session.gils[answer.gil] };
}

function titleOf(report, answer) {
  const { gil } = gilOf(report, answer);
  return report.gils.length > 1 ? `GIL ${gil.address} of process ${gil.pid}` : "";
}

function figuresOf(report) {
  const boxes = report.gils.flatMap((answer) => {
    const { figures } = answer;
    const title = titleOf(report, answer);
    const drops = figures.forced_drops + figures.voluntary_drops;
    const figure = (name, value, label) =>
      element("div", { className: "figure" }, element("b", { textContent: value, dataset: { figure: name } }), element("span", { textContent: label }));
    return [
      ...(title ? [element("h3", { textContent: title })] : []),
      figure("utilisation", formatPercent(figures.utilisation), "GIL utilisation"),
      figure("wait-ratio", figures.wait_ratio.toFixed(2), "threads waiting, on average"),
      figure("hold", formatDuration(figures.hold_ns), "held, all threads"),
      figure("wait", formatDuration(figures.wait_ns), "waited, all threads"),
      figure("acquisitions", `${formatCount(figures.acquisitions_per_second)}/s`, "acquisitions"),
      figure("switches", `${formatCount(figures.switches_per_second)}/s`, "switches between threads"),
      figure("forced", formatPercent(drops ? figures.forced_drops / drops : 0), "of drops were forced"),
      figure("wall", formatDuration(figures.wall_ns), "recorded"),
    ];
  });
  document.getElementById("figures").replaceChildren(...boxes);
}

function adviceOf(report) {
  const items = report.gils.flatMap((answer) =>
    answer.advice.map((advice) =>
      element(
        "li",
        {},
        sentence(advice.text),
        ...(advice.at_most_ns === null
          ? []
          : [element("small", { textContent: `At most ${formatDuration(advice.at_most_ns)} of ${formatDuration(answer.figures.wait_ns)} of waiting goes away with it.` })]),
      ),
    ),
  );
  const patterns = report.gils.flatMap((answer) => answer.patterns.map((pattern) => element("li", {}, ...patternOf(report, answer, pattern))));
  document.getElementById("advice").replaceChildren(
    ...(items.length ? [element("h2", { textContent: "What to do next" }), element("ol", {}, ...items)] : []),
    ...(patterns.length ? [element("h3", { textContent: "Patterns" }), element("ul", {}, ...patterns)] : []),
  );
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function patternOf(report, answer, pattern) {
  const { session, gil } = gilOf(report, answer);
  const since = (ns) => ns - session.start_ns;
  switch (pattern.kind) {
    case "periodic":
      return [
        `${threadName(gil.threads[pattern.thread])} holds the GIL for ${formatDuration(pattern.duration_ns)} every ${formatDuration(pattern.period_ns)}, first at `,
        jump(since(pattern.first_ns), pattern.duration_ns, gil.threads[pattern.thread]),
        `: ${formatCount(pattern.holds)} times, none more than ${formatDuration(pattern.deviation_ns)} off.`,
      ];
    case "burst":
      return [
        "A burst at ",
        jump(since(pattern.start_ns), pattern.end_ns - pattern.start_ns),
        `, ${formatDuration(pattern.end_ns - pattern.start_ns)} long: held ${formatPercent(pattern.utilisation)} of the time, on average ${pattern.wait_ratio.toFixed(1)} threads wait.`,
      ];
    default: {
      const names = pattern.threads.slice(0, 5).map((place) => threadName(gil.threads[place]));
      const more = pattern.threads.length - names.length;
      return [
        `The mark of the switch interval: ${formatCount(pattern.waits)} of ${formatCount(pattern.of_waits)} waits of ${names.join(", ")}${more ? ` and ${more} more` : ""} last 4 to 8 ms and end with a forced drop.`,
      ];
    }
  }
}

// A button that shows a stretch of the timeline.
function jump(start, duration, thread) {
  return element("button", {
    className: "jump",
    type: "button",
    textContent: formatMoment(start, 2e6),
    dataset: { start, duration, tid: thread?.tid ?? "" },
    title: "Show it in the timeline",
  });
}

function tablesOf(report) {
  const parts = report.gils.flatMap((answer) => {
    const { gil, session } = gilOf(report, answer);
    const title = titleOf(report, answer);
    return [
      ...(title ? [element("h2", { textContent: title })] : []),
      ...threadTables(gil, answer.figures),
      ...histogramsOf(gil),
      ...functionTables(gil, answer.figures),
      ...blameTable(gil, answer.figures),
      ...longestTables(gil, session),
    ];
  });
  document.getElementById("tables").replaceChildren(...report.sessions.flatMap(requestTables), ...parts);
}

function threadTables(gil, figures) {
  const madeWait = gil.threads.map(() => 0);
  for (const { holder, wait_ns } of gil.blame) madeWait[holder] += wait_ns;
  const table = (id, title, state, all, extra) => [
    element("h2", { textContent: title }),
    sortable(
      id,
      ["thread", "of time", "of all", "count", "total", "mean", "min", "p50", "p90", "p99", "max", ...extra.map(([name]) => name)],
      gil.threads.map((thread, place) => {
        const figure = thread[state];
        const share = figures.wall_ns ? figure.total_ns / figures.wall_ns : 0;
        const durations = ["total_ns", "mean_ns", "min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"];
        return {
          head: [threadName(thread), `tid ${thread.tid}, native id ${thread.native_id}, ident ${thread.ident}`],
          cells: [
            { value: share, text: formatPercent(share), bar: state === "holds" ? "hold" : "wait" },
            { value: figure.total_ns, text: formatPercent(all ? figure.total_ns / all : 0) },
            { value: figure.count, text: formatCount(figure.count) },
            ...durations.map((name) => ({ value: figure[name], text: figure.count ? formatDuration(figure[name]) : "" })),
            ...extra.map(([, cell]) => cell(thread, place)),
          ],
        };
      }),
      4,
    ),
  ];
  const number = (value) => ({ value, text: formatCount(value) });
  return [
    ...table("holds", "Holds", "holds", figures.hold_ns, [
      ["made others wait", (_, place) => ({ value: madeWait[place], text: formatDuration(madeWait[place]) })],
      ["forced drops", (thread) => number(thread.forced_drops)],
      ["voluntary", (thread) => number(thread.voluntary_drops)],
    ]),
    ...table("waits", "Waits", "waits", figures.wait_ns, [
      ["4–8 ms, forced", (thread) => number(thread.switch_interval_waits)],
      ["requests made", (thread) => number(thread.requests_made)],
    ]),
  ];
}

// A table whose columns can be sorted; the thread's name is the first, and a header of its row.
function sortable(id, titles, rows, sortedBy) {
  const body = element("tbody");
  const heads = titles.map((title, column) =>
    element("th", { scope: "col" }, element("button", { type: "button", textContent: title, onclick: () => sort(column) })),
  );
  const key = (row, column) => (column === 0 ? row.head[0].toLowerCase() : row.cells[column - 1].value);
  let descending = false;
  let current = -1;
  function sort(column) {
    descending = column === current ? !descending : column !== 0;
    current = column;
    const sign = descending ? -1 : 1;
    rows.sort((one, other) => {
      const [left, right] = [key(one, column), key(other, column)];
      return left < right ? -sign : left > right ? sign : 0;
    });
    heads.forEach((head, at) => head.setAttribute("aria-sort", at === column ? (descending ? "descending" : "ascending") : "none"));
    body.replaceChildren(
      ...rows.map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row", textContent: row.head[0], title: row.head[1] }),
          ...row.cells.map((cell) =>
            element("td", {
              textContent: cell.text,
              className: cell.bar ? `bar ${cell.bar}` : "",
              style: cell.bar ? { "--share": `${Math.min(100, cell.value * 100)}%` } : {},
            }),
          ),
        ),
      ),
    );
  }
  sort(sortedBy);
  return element("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: id }, element("table", { id }, element("thead", {}, element("tr", {}, ...heads)), body));
}

function histogramsOf(gil) {
  const edges = [1e3, 1e4, 1e5, 5e5, 1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6, 128e6, 256e6, 512e6, 1e9, 1e10, Infinity];
  const binned = (state) => {
    const bins = edges.map(() => ({ count: 0, time: 0 }));
    for (const thread of gil.threads) {
      for (const [value, count] of thread[state].buckets) {
        const bin = bins[edges.findIndex((edge) => value <= edge)];
        bin.count += count;
        bin.time += value * count;
      }
    }
    return bins;
  };
  const histogram = (state, title, kind) => {
    const bins = binned(state);
    const first = bins.findIndex((bin) => bin.count);
    if (first < 0) return element("div");
    const last = bins.findLastIndex((bin) => bin.count);
    const most = Math.max(...bins.map((bin) => bin.time));
    const rows = bins.slice(first, last + 1).flatMap((bin, at) => [
      element("span", { textContent: edges[first + at] === Infinity ? "more" : formatDuration(edges[first + at]) }),
      element("i", { className: kind, style: { "--share": `${(bin.time / most) * 100}%`, visibility: bin.count ? "visible" : "hidden" }, title: `${formatDuration(bin.time)} in all` }),
      element("b", { textContent: bin.count ? formatCount(bin.count) : "" }),
    ]);
    return element("div", {}, element("h3", { textContent: title }), element("div", { className: "histogram" }, ...rows));
  };
  return [
    element("h2", { textContent: "How long" }),
    element("p", { className: "hint", textContent: "Up to each length: the bar is the time spent in holds or waits of that length, the number how many there are." }),
    element("div", { className: "pair" }, histogram("holds", "Holds", "hold"), histogram("waits", "Waits", "wait")),
  ];
}

function blameTable(gil, figures) {
  const pairs = [...gil.blame].sort((one, other) => other.wait_ns - one.wait_ns).slice(0, 200);
  if (!pairs.length) return [];
  const nobody = gil.threads.reduce((sum, thread) => sum + thread.wait_on_nobody_ns, 0);
  return [
    element("h2", { textContent: "Who waited for whom" }),
    element("p", {
      className: "hint",
      textContent: `${formatPercent(figures.wait_ns ? nobody / figures.wait_ns : 0)} of all waits passed with nobody seen to hold the GIL: it was being handed over. Of ${formatCount(gil.blame.length)} pairs the first ${pairs.length}.`,
    }),
    scrolled(
      ["waited", "for", "", "of all waits"],
      pairs.map((pair) => {
        const share = pair.wait_ns / figures.wait_ns;
        return [
          element("th", { scope: "row", textContent: threadName(gil.threads[pair.waiter]) }),
          element("td", { className: "left", textContent: threadName(gil.threads[pair.holder]) }),
          element("td", { textContent: formatDuration(pair.wait_ns) }),
          element("td", { className: "bar wait", textContent: formatPercent(share), style: { "--share": `${share * 100}%` } }),
        ];
      }),
      "22rem",
    ),
  ];
}

function requestTables(session) {
  const { requests } = session;
  if (!requests) return [];
  const length = (value) => ({ value, text: formatDuration(value) });
  const worst = requests.worst.filter((request) => request.wait_ns).slice(0, 50);
  return [
    element("h2", { textContent: "Requests" }),
    element("p", { className: "hint", textContent: `How long each took, had the GIL and waited for it.${requests.cut ? ` ${formatCount(requests.cut)} spans were cut by the ends of the trace.` : ""}` }),
    sortable(
      "requests",
      ["name", "count", "p50", "p99", "max", "held p50", "held p99", "waited p50", "waited p99", "waited max", "waited in all"],
      requests.names.map((one) => ({
        head: [plainName(one.name), ""],
        cells: [
          { value: one.durations.count, text: formatCount(one.durations.count) },
          ...["p50_ns", "p99_ns", "max_ns"].map((figure) => length(one.durations[figure])),
          ...["p50_ns", "p99_ns"].map((figure) => length(one.holds[figure])),
          ...["p50_ns", "p99_ns", "max_ns", "total_ns"].map((figure) => length(one.waits[figure])),
        ],
      })),
      10,
    ),
    ...(worst.length
      ? [
          element("h3", { textContent: "Those that waited longest" }),
          scrolled(
            ["name", "at", "took", "had the GIL for", "waited", "for whom", "trace"],
            worst.map((request) => [
              element("th", { scope: "row", textContent: plainName(request.name) }),
              element("td", {}, jump(request.start_ns - session.start_ns, request.duration_ns)),
              element("td", { textContent: formatDuration(request.duration_ns) }),
              element("td", { textContent: formatDuration(request.hold_ns) }),
              element("td", { textContent: formatDuration(request.wait_ns) }),
              element("td", { className: "left", textContent: request.waited_for.slice(0, 3).map((part) => `${threadName(part)} ${formatDuration(part.wait_ns)}`).join(", ") }),
              element("td", { className: "left", textContent: request.trace }),
            ]),
            "24rem",
          ),
        ]
      : []),
  ];
}

// The line at which a hold ended, or a wait began.
function placeName(functions, place) {
  return place === null ? "(not known)" : placeText(functions.places[place]);
}

function placeText({ function: name, file, line }) {
  const short = file.split("/").pop();
  return plainName(line ? `${name} (${short}:${line})` : `${name} (${short})`);
}

function functionTables(gil, figures) {
  const { functions } = gil;
  if (!functions) return [];
  const rows = new Map();
  const row = (place) => {
    if (!rows.has(place)) rows.set(place, { place, held: 0, holds: 0, longest: 0, waited: 0, waits: 0, madeWait: 0 });
    return rows.get(place);
  };
  for (const { place, holds, waits } of functions.at) {
    const sums = row(place);
    sums.held += holds.total_ns;
    sums.holds += holds.count;
    sums.longest = Math.max(sums.longest, holds.max_ns);
    sums.waited += waits.total_ns;
    sums.waits += waits.count;
  }
  for (const { holder, wait_ns } of functions.blame) row(holder).madeWait += wait_ns;
  const length = (value) => ({ value, text: formatDuration(value) });
  const number = (value) => ({ value, text: formatCount(value) });
  const pairs = [...functions.blame].sort((one, other) => other.wait_ns - one.wait_ns).slice(0, 200);
  return [
    element("h2", { textContent: "Functions" }),
    element("p", { className: "hint", textContent: "The line at which a hold ended, or a wait began." }),
    sortable(
      "functions",
      ["function", "of all", "held", "holds", "longest", "waited", "waits", "made others wait"],
      [...rows.values()].map((sums) => {
        const share = figures.hold_ns ? sums.held / figures.hold_ns : 0;
        const file = sums.place === null ? "" : plainName(functions.places[sums.place].file);
        return {
          head: [placeName(functions, sums.place), file],
          cells: [
            { value: share, text: formatPercent(share), bar: "hold" },
            length(sums.held),
            number(sums.holds),
            length(sums.longest),
            length(sums.waited),
            number(sums.waits),
            length(sums.madeWait),
          ],
        };
      }),
      2,
    ),
    ...(pairs.length
      ? [
          element("h3", { textContent: "Which function waited for which" }),
          scrolled(
            ["waited", "for", "", "of all waits"],
            pairs.map((pair) => {
              const share = figures.wait_ns ? pair.wait_ns / figures.wait_ns : 0;
              return [
                element("th", { scope: "row", textContent: placeName(functions, pair.waiter) }),
                element("td", { className: "left", textContent: placeName(functions, pair.holder) }),
                element("td", { textContent: formatDuration(pair.wait_ns) }),
                element("td", { className: "bar wait", textContent: formatPercent(share), style: { "--share": `${share * 100}%` } }),
              ];
            }),
            "22rem",
          ),
        ]
      : []),
  ];
}

// The native function and the Python code that one is about, as far as they are known.
function codeOf(one) {
  const native = one.within ?? (one.function ? `ended in ${one.function}` : null);
  const place = one.place ? placeText(one.place) : null;
  if (native && place) return `${plainName(native)}, called at ${place}`;
  return native ? plainName(native) : (place ?? "");
}

function longestTables(gil, session) {
  const table = (title, list, during) => {
    const named = list.some((one) => codeOf(one));
    return [
      element("h3", { textContent: title }),
      scrolled(
        ["thread", "at", "duration", during, ...(named ? ["in"] : [])],
        list.slice(0, 20).map((one) => [
          element("th", { scope: "row", textContent: threadName(gil.threads[one.thread]) }),
          element("td", {}, jump(one.start_ns - session.start_ns, one.duration_ns, gil.threads[one.thread])),
          element("td", { textContent: formatDuration(one.duration_ns) + (one.open ? " +" : "") }),
          element("td", { className: "left", textContent: othersOf(gil, one) }),
          ...(named ? [element("td", { className: "left", textContent: codeOf(one) })] : []),
        ]),
        "24rem",
      ),
    ];
  };
  return [
    element("h2", { textContent: "Longest" }),
    element(
      "div",
      { className: "pair" },
      element("div", {}, ...table("Holds", gil.longest_holds, "waiting during it")),
      element("div", {}, ...table("Waits", gil.longest_waits, "held meanwhile by")),
    ),
  ];
}

function othersOf(gil, one) {
  const named = one.others.slice(0, 3).map(([place, part]) => `${threadName(gil.threads[place])} ${formatDuration(part)}`);
  if (one.others.length > 3) named.push(`+${one.others.length - 3}`);
  return named.join(", ") || "nobody";
}

function scrolled(titles, rows, height) {
  // A title stands where its column does.
  const side = (column) => (rows[0]?.[column]?.classList.contains("left") ? "left" : "");
  return element(
    "div",
    { className: "scroll", tabIndex: 0, style: { "max-height": height } },
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, ...titles.map((textContent, column) => element("th", { scope: "col", className: side(column), textContent })))),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells))),
    ),
  );
}

function aboutOf(report) {
  const lines = report.sessions.map((session) => {
    const odd = Object.entries(session.losses).filter(([, value]) => typeof value === "number" && value > 0);
    return element("p", {
      textContent: [
        session.pid ? `Process ${session.pid}` : "Several processes",
        session.python && `CPython ${plainName(session.python)}`,
        session.host && `on ${plainName(session.host)}`,
        session.command && plainName(session.command),
        session.start && `from ${plainName(session.start)}`,
        `${formatDuration(session.end_ns - session.start_ns)}, ${session.ended ? `until ${plainName(session.ended)}` : "cut off"}`,
        `${formatCount(session.events)} events`,
        ...odd.map(([name, value]) => `${name.replaceAll("_", " ")}: ${formatCount(value)}`),
      ]
        .filter(Boolean)
        .join(" · "),
    });
  });
  document.getElementById("about").replaceChildren(...lines);
}

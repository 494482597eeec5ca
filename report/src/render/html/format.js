// Durations, shares and names as people read them: the same words as the text report.
"use strict";

function threeDigits(number) {
  return number < 9.995 ? number.toFixed(2) : number < 99.95 ? number.toFixed(1) : number.toFixed(0);
}

function formatDuration(ns) {
  if (ns < 1000) return `${Math.round(ns)} ns`;
  if (ns < 999500) return `${threeDigits(ns / 1e3)} µs`;
  if (ns < 999500000) return `${threeDigits(ns / 1e6)} ms`;
  if (ns < 120e9) return `${threeDigits(ns / 1e9)} s`;
  const seconds = Math.floor(ns / 1e9);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor(seconds / 60) % 60).padStart(2, "0")} m`;
}

function formatPercent(share) {
  const percent = share * 100;
  if (percent === 0) return "0 %";
  if (percent < 0.01) return "< 0.01 %";
  return `${percent < 1 ? percent.toFixed(2) : percent < 99.95 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

function formatCount(count) {
  return Math.round(count).toLocaleString("en-US");
}

// A moment since tracing began, with as many digits as a view of this span needs.
function formatMoment(ns, spanNs) {
  const digits = spanNs < 2e3 ? 9 : spanNs < 2e6 ? 6 : spanNs < 2e9 ? 4 : spanNs < 2e10 ? 2 : 1;
  return `${(ns / 1e9).toFixed(digits)} s`;
}

// A thread's name comes from the traced program: control and invisible characters are shown as what they are.
function plainName(name) {
  return name.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

function threadName(thread) {
  return thread.name ? plainName(thread.name) : `tid ${thread.tid}`;
}

function element(tag, properties = {}, ...children) {
  const { dataset, style, attributes, ...plain } = properties;
  const made = Object.assign(document.createElement(tag), plain);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  for (const [name, value] of Object.entries(style ?? {})) made.style.setProperty(name, value);
  made.append(...children);
  return made;
}

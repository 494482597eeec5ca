// Reads the timelines out of the page: numbers packed by the writer (render/html/encode.rs), and a pyramid of coarser cells.
"use strict";

function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

class Numbers {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  // Seven bits a byte, the lowest first. Multiplied, not shifted: a number may have more than 32 bits.
  next() {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.bytes[this.at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }
}

class Lane {
  constructor(facts, place, numbers) {
    Object.assign(this, facts);
    this.place = place;
    this.label = threadName(facts);
    this.readCells(numbers);
    this.readKept(numbers);
  }

  readCells(numbers) {
    const count = numbers.next();
    const hold = new Uint8Array(count);
    const wait = new Uint8Array(count);
    for (let cell = 0; cell < count; cell++) {
      hold[cell] = numbers.bytes[numbers.at++];
      wait[cell] = numbers.bytes[numbers.at++];
    }
    // levels[n] has cells 2^n times as wide; a coarse cell is the mean of two.
    this.levels = [{ hold, wait }];
    for (let fine = this.levels[0]; fine.hold.length > 64; fine = this.levels.at(-1)) {
      const length = Math.ceil(fine.hold.length / 2);
      const coarse = { hold: new Uint8Array(length), wait: new Uint8Array(length) };
      for (const state of ["hold", "wait"]) {
        for (let cell = 0; cell < length; cell++) {
          coarse[state][cell] = Math.ceil((fine[state][2 * cell] + (fine[state][2 * cell + 1] ?? 0)) / 2);
        }
      }
      this.levels.push(coarse);
    }
  }

  readKept(numbers) {
    const count = numbers.next();
    const starts = new Float64Array(count);
    const durations = new Float64Array(count);
    const codes = new Uint32Array(count);
    let start = 0;
    for (let at = 0; at < count; at++) {
      start += numbers.next();
      starts[at] = start;
      durations[at] = numbers.next();
      codes[at] = numbers.next();
    }
    // Holds and waits apart: each of the two lists is in order and does not overlap itself.
    this.holds = Events.pick(starts, durations, codes, 0);
    this.waits = Events.pick(starts, durations, codes, 1);
  }
}

class Events {
  static pick(starts, durations, codes, wanted) {
    let count = 0;
    for (const code of codes) if ((code & 1) === wanted) count++;
    const events = new Events();
    events.start = new Float64Array(count);
    events.end = new Float64Array(count);
    events.code = new Uint32Array(count);
    let at = 0;
    for (let from = 0; from < codes.length; from++) {
      if ((codes[from] & 1) !== wanted) continue;
      events.start[at] = starts[from];
      events.end[at] = starts[from] + durations[from];
      events.code[at++] = codes[from];
    }
    return events;
  }

  get length() {
    return this.start.length;
  }

  // The first event that ends after this time.
  firstAfter(time) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.end[middle] > time) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  forced(at) {
    return (this.code[at] & 2) !== 0;
  }

  open(at) {
    return (this.code[at] & 4) !== 0;
  }

  // The lane that held the GIL for most of a wait, or -1.
  holder(at) {
    return (this.code[at] >>> 3) - 1;
  }

  // Calls back with the place and the shared time of every event that touches a stretch of time.
  during(from, to, callback) {
    for (let at = this.firstAfter(from); at < this.length && this.start[at] < to; at++) {
      callback(at, Math.min(this.end[at], to) - Math.max(this.start[at], from));
    }
  }
}

function readTimelines() {
  const facts = JSON.parse(document.getElementById("timeline-facts").textContent);
  return facts.map((timeline, place) => {
    const packed = document.getElementById(`timeline-${place}`);
    const numbers = new Numbers(decodeBase64(packed.textContent));
    const lanes = timeline.lanes.map((lane, at) => new Lane(lane, at, numbers));
    packed.remove();
    const complete = timeline.complete.map(([start, end]) => [start - timeline.start_ns, end - timeline.start_ns]);
    return { ...timeline, lanes, complete, duration: Math.max(1, timeline.end_ns - timeline.start_ns) };
  });
}

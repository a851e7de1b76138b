// From numbers to pixels: the ends of an axis, its scale and its ticks.
import { scaleLinear, scaleLog, type ScaleContinuousNumeric } from "d3-scale";
import type { Axis, Mark, Num } from "../scene";
import { power, widthOf } from "../text";

export type Ends = [number, number];

export interface Scale {
  (value: number): number;
  domain: Ends;
  range: Ends;
  log: boolean;
  invert(pixel: number): number;
}

export interface Tick {
  at: number;
  text: string;
}

class Extent {
  low = Infinity;
  high = -Infinity;

  constructor(private readonly positive: boolean) {}

  add(value: Num | undefined): void {
    if (value === null || value === undefined || (this.positive && value <= 0)) return;
    if (value < this.low) this.low = value;
    if (value > this.high) this.high = value;
  }

  all(values: Num[]): void {
    for (const value of values) this.add(value);
  }
}

/** Whether the axis counts places (of bars, of intervals), which want half a place of room on both sides. */
function room(marks: Mark[], across: "x" | "y"): number {
  let most = 0;
  for (const mark of marks) {
    if ((mark.kind === "bars" || mark.kind === "intervals") && mark.sideways === (across === "y")) {
      most = Math.max(most, mark.kind === "bars" ? Math.max(mark.width * 0.62, mark.width / 2) : 0.5);
    }
  }
  return most;
}

/** The ends of an axis: its own where it has some, else what the marks need. */
export function ends(axis: Axis, marks: Mark[], across: "x" | "y"): Ends {
  const found = new Extent(axis.log);
  for (const mark of marks) {
    if (mark.kind === "line" || mark.kind === "dots" || mark.kind === "shape") found.all(mark[across]);
    else if (mark.kind === "band") {
      if (across === "x") found.all(mark.x);
      else {
        found.all(mark.low);
        found.all(mark.high);
      }
    } else if (mark.kind === "rule") found.add(mark[across]);
    else if (mark.kind === "note") found.add(mark[across]);
    else if (mark.sideways === (across === "y")) found.all(mark.at);
    else if (mark.kind === "bars") {
      found.add(mark.base);
      found.all(mark.value);
    } else {
      for (const values of [mark.low, mark.middle, mark.high, ...mark.points]) found.all(values);
    }
  }
  for (const [place] of axis.ticks) found.add(place);
  let { low, high } = found;
  if (low > high) [low, high] = axis.log ? [0.1, 1] : [0, 1];
  const half = room(marks, across);
  // Dots at the very end want a little room, but not below 0 where nothing is, nor beside a line that ends there too.
  const dots = marks.some((mark) => mark.kind === "dots" || mark.kind === "note") && !(across === "x" && marks.some((mark) => mark.kind === "line"));
  if (half) [low, high] = [low - half, high + half];
  else if (low === high) [low, high] = axis.log ? [low / 2, low * 2] : [low - 0.5, high + 0.5];
  else if (dots && !axis.log) {
    const pad = (high - low) * 0.03;
    [low, high] = [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
  }
  const scale = base(axis.log).domain([low, high]);
  const sideways = marks.some((mark) => (mark.kind === "bars" || mark.kind === "intervals") && mark.sideways);
  if ((across === "y" || sideways) && !half && axis.ticks.length === 0) scale.nice(5);
  const [nicelow, nicehigh] = scale.domain() as Ends;
  const first = axis.low ?? nicelow;
  const last = axis.high ?? nicehigh;
  return first === last ? [first - 0.5, last + 0.5] : [first, last];
}

const base = (log: boolean): ScaleContinuousNumeric<number, number> => (log ? scaleLog() : scaleLinear());

export function scale(domain: Ends, range: Ends, log: boolean): Scale {
  const inner = base(log && domain[0] > 0).domain(domain).range(range);
  const outer = ((value: number) => inner(value)) as Scale;
  outer.domain = domain;
  outer.range = range;
  outer.log = log && domain[0] > 0;
  outer.invert = (pixel) => inner.invert(pixel);
  return outer;
}

/** About `count` ticks: the axis's own, decades of a logarithmic one, round numbers else. */
export function ticks(axis: Axis, domain: Ends, count: number): Tick[] {
  const [low, high] = domain[0] <= domain[1] ? domain : [domain[1], domain[0]];
  if (axis.ticks.length) {
    return axis.ticks.filter(([at]) => at >= low && at <= high).map(([at, text]) => ({ at, text }));
  }
  if (axis.log && low > 0) return decades(low, high, count);
  const inner = scaleLinear().domain([low, high]);
  const format = inner.tickFormat(count);
  return inner.ticks(count).map((at) => ({ at, text: format(at).replace(/,/g, "\u2009") }));
}

function decades(low: number, high: number, count: number): Tick[] {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const found: Tick[] = [];
  if (last - first < 2) {
    for (let exponent = first - 1; exponent <= last; exponent += 1) {
      for (const factor of [1, 2, 5]) {
        const at = Number((factor * 10 ** exponent).toPrecision(6));
        if (at >= low * (1 - 1e-9) && at <= high * (1 + 1e-9)) found.push({ at, text: String(at) });
      }
    }
    return found;
  }
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(count, 2)));
  for (let exponent = first; exponent <= last; exponent += every) {
    found.push({ at: Number(`1e${exponent}`), text: power(exponent) });
  }
  return found;
}

/** The ticks whose texts do not touch, thinned evenly. `place` gives a tick's pixel. */
export function apart(found: Tick[], place: (at: number) => number, size: number): Tick[] {
  for (let every = 1; every < found.length; every += 1) {
    const kept = found.filter((_, at) => at % every === 0);
    let edge = -Infinity;
    const fits = kept.every((tick) => {
      const half = widthOf(tick.text, size) / 2;
      const clear = place(tick.at) - half > edge;
      edge = place(tick.at) + half + 8;
      return clear;
    });
    if (fits) return kept;
  }
  return found.slice(0, 1);
}

// What pointer and keys read in a plot: the values that stand under a place.
import type { Mark, Num, Plot, Role } from "../scene";
import { short } from "../text";
import type { Reading, Stop } from "./drawing";
import { pixel, type Plane } from "./marks";

interface Series {
  label: string;
  role: Role;
  kind: "curve" | "place" | "dots";
  x: number[]; // pixels
  y: number[];
  head: (at: number) => string;
  text: (at: number) => string;
}

const tickText = (plot: Plot, across: "x" | "y", value: Num | undefined): string => {
  const axis = plot[across];
  const named = axis.ticks.find(([place]) => value !== null && value !== undefined && Math.abs(place - value) < 1e-9);
  return named ? named[1] : [axis.label, short(value)].filter(Boolean).join(" ");
};

function seriesOf(plot: Plot, plane: Plane): Series[] {
  const found: Series[] = [];
  for (const mark of plot.marks) {
    const one = series(mark, plot, plane);
    if (one) found.push(one);
  }
  return found;
}

function series(mark: Mark, plot: Plot, plane: Plane): Series | undefined {
  if (mark.kind === "line" || mark.kind === "dots" || mark.kind === "band") {
    const ys = mark.kind === "band" ? mark.high : mark.y;
    if (mark.kind === "line" && (mark.closed || (mark.thin && mark.label === ""))) return undefined;
    return {
      label: mark.label,
      role: mark.role,
      kind: mark.kind === "dots" ? "dots" : "curve",
      x: mark.x.map((value) => pixel(plane.x, value)),
      y: ys.map((value) => pixel(plane.y, value)),
      head: (at) => tickText(plot, "x", mark.x[at]),
      text: (at) => (mark.kind === "band" ? `${short(mark.low[at])} to ${short(mark.high[at])}` : short(mark.y[at])),
    };
  }
  if (mark.kind !== "bars" && mark.kind !== "intervals") return undefined;
  const values = mark.kind === "bars" ? mark.value : mark.middle;
  const along = mark.sideways ? plane.y : plane.x;
  const across = mark.sideways ? plane.x : plane.y;
  const places = mark.at.map((value) => pixel(along, value));
  const tips = values.map((value) => pixel(across, value));
  return {
    label: mark.label,
    role: mark.role,
    kind: "place",
    x: mark.sideways ? tips : places,
    y: mark.sideways ? places : tips,
    head: (at) => tickText(plot, mark.sideways ? "y" : "x", mark.at[at]),
    text: (at) => {
      if (mark.kind === "bars") return short(mark.value[at]) + (mark.crossed[at] ? " (crossed out)" : "");
      return `${short(mark.middle[at])} [${short(mark.low[at])}, ${short(mark.high[at])}]`;
    },
  };
}

function closest(series: Series, distance: (x: number, y: number) => number, most: number): number {
  let best = -1;
  let least = most;
  for (let at = 0; at < series.x.length; at += 1) {
    const away = distance(series.x[at] as number, series.y[at] as number);
    if (away < least) [best, least] = [at, away];
  }
  return best;
}

const read = (series: Series, at: number): Reading => ({ label: series.label, text: series.text(at), role: series.role });

/** The stop at the pixel column `x`: every curve's value there. It stands within the plot also where the curve does not. */
function column(curves: Series[], plane: Plane, x: number, most: number): Stop | undefined {
  const readings: Reading[] = [];
  let lead: [Series, number] | undefined;
  for (const curve of curves) {
    const at = closest(curve, (px, py) => (py === py ? Math.abs(px - x) : Infinity), most);
    if (at < 0) continue;
    lead ??= [curve, at];
    if (readings.length < 8) readings.push(read(curve, at));
  }
  if (!lead) return undefined;
  const [curve, at] = lead;
  const [bottom, top] = plane.y.range;
  const y = Math.max(top, Math.min(bottom, curve.y[at] as number));
  return { x: curve.x[at] as number, y, head: curve.head(at), readings };
}

/** The stop of one place (a bar, an interval) with every series that stands there. */
function place(all: Series[], own: Series, at: number, sideways: boolean): Stop {
  const readings = all
    .filter((one) => one.kind !== "curve")
    .flatMap((one) => {
      const same = closest(one, (px, py) => Math.abs(sideways ? py - (own.y[at] as number) : px - (own.x[at] as number)), 1.5);
      return same < 0 ? [] : [read(one, same)];
    });
  return { x: own.x[at] as number, y: own.y[at] as number, head: own.head(at), readings };
}

const sideways = (plot: Plot): boolean => plot.marks.some((mark) => (mark.kind === "bars" || mark.kind === "intervals") && mark.sideways);

export function nearest(plot: Plot, plane: Plane, x: number, y: number): Stop | undefined {
  const all = seriesOf(plot, plane);
  const [left, right] = plane.x.range;
  const [bottom, top] = plane.y.range;
  if (x < left - 12 || x > right + 12 || y < top - 20 || y > bottom + 20) return undefined;
  for (const dots of all.filter(({ kind }) => kind === "dots")) {
    const at = closest(dots, (px, py) => Math.hypot(px - x, py - y), 14);
    if (at >= 0) return { x: dots.x[at] as number, y: dots.y[at] as number, head: dots.head(at), readings: [read(dots, at)] };
  }
  const places = all.filter(({ kind }) => kind === "place");
  const side = sideways(plot);
  for (const one of places) {
    const at = closest(one, (px, py) => Math.abs(side ? py - y : px - x), 24);
    if (at >= 0) return place(all, one, at, side);
  }
  return column(all.filter(({ kind }) => kind === "curve"), plane, x, Math.max(24, (right - left) / 12));
}

const STOPS = 50; // along a curve

export function walk(plot: Plot, plane: Plane): Stop[] {
  const all = seriesOf(plot, plane);
  const places = all.find(({ kind }) => kind === "place");
  const side = sideways(plot);
  if (places) return places.x.map((_, at) => place(all, places, at, side));
  const curves = all.filter(({ kind }) => kind === "curve");
  const [left, right] = plane.x.range;
  if (curves.length) {
    const stops: Stop[] = [];
    for (let at = 0; at <= STOPS; at += 1) {
      const stop = column(curves, plane, left + ((right - left) * at) / STOPS, (right - left) / STOPS);
      if (stop && stop.x !== stops[stops.length - 1]?.x) stops.push(stop);
    }
    return stops;
  }
  return all
    .flatMap((one) => one.x.map((x, at): Stop => ({ x, y: one.y[at] as number, head: one.head(at), readings: [read(one, at)] })))
    .filter(({ x, y }) => x === x && y === y)
    .sort((a, b) => a.x - b.x);
}

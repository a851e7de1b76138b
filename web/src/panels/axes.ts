// Ticks, grid lines and axis titles, and the room they need.
import { children, set, svg, write } from "../dom";
import type { Axis } from "../scene";
import { cut, lines, widest, widthOf } from "../text";
import { apart, type Scale, type Tick } from "./scales";

export const GAP = 8; // between a tick's text and the plot

/** Room on the left for the texts of a vertical axis: at most 40 % of the width, where long names break in two lines. */
export function roomLeft(ticks: Tick[], width: number, font: number): number {
  const most = Math.floor(width * 0.4);
  const whole = Math.ceil(widest(ticks.map(({ text }) => text), font));
  if (whole + GAP + 2 <= Math.max(most * 0.75, 60)) return whole + GAP + 2;
  const broken = ticks.flatMap(({ text }) => lines(text, whole * 0.62, font));
  return Math.min(Math.ceil(widest(broken, font)) + GAP + 2, most);
}

/** Whether the texts of a horizontal category axis must lean to fit. */
export const leans = (axis: Axis, ticks: Tick[], room: number, font: number): boolean =>
  axis.ticks.length > 0 && ticks.reduce((sum, { text }) => sum + widthOf(text, font) + 8, 0) > room && ticks.some(({ text }) => text.length > 3);

const LEAN = 35; // degrees

/** Room below for ticks and title. */
export function roomBelow(axis: Axis, ticks: Tick[], font: number, lean: boolean): number {
  const texts = lean
    ? Math.min(110, widest(ticks.map(({ text }) => text), font) * Math.sin((LEAN * Math.PI) / 180)) + font + 4
    : ticks.length
      ? font + GAP + 3
      : 6;
  return Math.ceil(texts) + (axis.label ? font + 7 : 0);
}

export interface AxisGroups {
  grid: SVGGElement;
  ticks: SVGGElement;
  title: SVGTextElement;
}

export const axisGroups = (): AxisGroups => ({ grid: svg("g", { class: "grid" }), ticks: svg("g", { class: "ticks" }), title: svg("text", { class: "axis-title" }) });

export function drawBottom(groups: AxisGroups, axis: Axis, found: Tick[], x: Scale, y: Scale, font: number, lean: boolean, width: number): void {
  const [bottom, top] = y.range;
  const shown = lean ? found : apart(found, x, font);
  const category = axis.ticks.length > 0;
  const texts = children(groups.ticks, shown.length, () => svg("text"));
  shown.forEach((tick, at) => {
    const text = texts[at] as SVGTextElement;
    const place = Math.round(x(tick.at) * 10) / 10;
    const low = bottom + GAP + font * 0.8;
    set(text, {
      x: place,
      y: low,
      "text-anchor": lean ? "end" : "middle",
      transform: lean ? `rotate(-${LEAN} ${place} ${low - font * 0.4})` : null,
      "font-size": font,
    });
    write(text, lean ? cut(tick.text, 110 / Math.sin((LEAN * Math.PI) / 180), font) : tick.text);
  });
  const rules = children(groups.grid, category ? 0 : shown.length, () => svg("path"));
  rules.forEach((path, at) => {
    const place = Math.round(x((shown[at] as Tick).at)) + 0.5;
    set(path, { d: `M${place} ${bottom}V${top}` });
  });
  const [left, right] = x.range;
  const texted = bottom + roomBelow(axis, found, font, lean) - 4;
  const words = cut(axis.label, width, font);
  const half = widthOf(words, font) / 2;
  set(groups.title, { x: Math.max(half, Math.min(width - half, (left + right) / 2)), y: texted, "text-anchor": "middle", "font-size": font });
  write(groups.title, words);
}

export function drawLeft(groups: AxisGroups, axis: Axis, found: Tick[], x: Scale, y: Scale, font: number, above: number): void {
  const [left, right] = x.range;
  const category = axis.ticks.length > 0;
  const texts = children(groups.ticks, found.length, () => svg("text", {}, svg("title"), svg("tspan"), svg("tspan")));
  found.forEach((tick, at) => {
    const text = texts[at] as SVGTextElement;
    const [title, one, two] = Array.from(text.children) as [Element, SVGTSpanElement, SVGTSpanElement];
    const place = y(tick.at) + font * 0.35;
    const words = lines(tick.text, left - GAP, font);
    set(text, { "text-anchor": "end", "font-size": font });
    set(one, { x: left - GAP, y: Math.round((place - (words.length - 1) * font * 0.55) * 10) / 10 });
    set(two, { x: left - GAP, y: Math.round((place + font * 0.6) * 10) / 10 });
    write(one, words[0] ?? "");
    write(two, words[1] ?? "");
    write(title, words.join(" ") === tick.text ? "" : tick.text);
  });
  const rules = children(groups.grid, category ? 0 : found.length, () => svg("path"));
  rules.forEach((path, at) => {
    const place = Math.round(y((found[at] as Tick).at)) + 0.5;
    set(path, { d: `M${left} ${place}H${right}` });
  });
  set(groups.title, { x: 0, y: above, "font-size": font });
  write(groups.title, cut(axis.label, right, font));
}

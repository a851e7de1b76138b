// Names beside what they name: at the ends of lines, at rules, and in a legend where there is no room for that.
import { children, html, set, svg, write } from "../dom";
import type { Line, Mark, Num } from "../scene";
import { widthOf } from "../text";
import { marker, pixel, type Guise, type Plane } from "./marks";

export const DIRECT_FROM = 340; // CSS pixels of panel width: narrower ones have a legend instead of names at line ends

/** The lines that are named at their ends. */
export const named = (marks: Mark[]): Line[] =>
  marks.filter((mark): mark is Line => mark.kind === "line" && !mark.thin && !mark.closed && mark.label !== "");

/** Whether the panel has the room for names at line ends, and what room they take on its right. */
export function roomForNames(marks: Mark[], width: number, font: number, small: boolean): number {
  const lines = named(marks);
  if (small || width < DIRECT_FROM || lines.length === 0) return 0;
  const most = Math.max(...lines.map((mark) => widthOf(mark.label, font, true)));
  return most > width * 0.27 ? 0 : Math.ceil(most) + 14;
}

interface Name {
  label: string;
  role: string;
  x: number;
  y: number;
  from: number;
}

function lastPoint(xs: Num[], ys: Num[], plane: Plane): [number, number] | undefined {
  for (let at = xs.length - 1; at >= 0; at -= 1) {
    const x = pixel(plane.x, xs[at]);
    const y = pixel(plane.y, ys[at]);
    if (x === x && y === y) return [x, y];
  }
  return undefined;
}

/** Moves names apart until none touches another, all between `top` and `bottom`. */
export function apart(wanted: number[], gap: number, top: number, bottom: number): number[] {
  const order = wanted.map((_, at) => at).sort((a, b) => (wanted[a] as number) - (wanted[b] as number));
  const found = [...wanted];
  let edge = top - gap;
  for (const at of order) {
    found[at] = Math.max(found[at] as number, edge + gap);
    edge = found[at] as number;
  }
  edge = bottom + gap;
  for (const at of [...order].reverse()) {
    found[at] = Math.min(found[at] as number, edge - gap);
    edge = found[at] as number;
  }
  return found;
}

/** Writes the names at the ends of lines. */
export function drawNames(group: SVGGElement, marks: Mark[], plane: Plane, direct: boolean): void {
  const right = plane.x.range[1];
  const names: Name[] = [];
  for (const mark of direct ? named(marks) : []) {
    const end = lastPoint(mark.x, mark.y, plane);
    if (!end) continue;
    const clipped = Math.max(plane.y.range[1], Math.min(plane.y.range[0], end[1]));
    const x = end[0] < right - 60 ? end[0] + 7 : right + 8;
    names.push({ label: mark.label, role: mark.role, x, y: clipped, from: clipped });
  }
  const settled = apart(
    names.map(({ y }) => y),
    plane.font + 4,
    plane.y.range[1] + 2,
    plane.y.range[0] - 2,
  );
  const elements = children(group, names.length, () => svg("g", {}, svg("path", { class: "leader" }), svg("text", { class: "halo strong" })));
  names.forEach((name, at) => {
    const [leader, text] = Array.from((elements[at] as SVGGElement).children) as [SVGPathElement, SVGTextElement];
    const y = settled[at] as number;
    set(elements[at] as SVGGElement, { class: `name role-${name.role}`, "data-name": name.label });
    set(text, { x: name.x + 4, y: y + plane.font * 0.35, "font-size": plane.font });
    write(text, name.label);
    set(leader, { d: Math.abs(y - name.from) > 5 && name.x > right ? `M${right} ${name.from}L${name.x + 2} ${y}` : null });
  });
}

interface RuleName {
  label: string;
  role: string;
  x: number;
  y: number;
  anchor: "start" | "end";
}

/** How many rows of names vertical rules need above the plot. */
export function ruleRows(marks: Mark[]): number {
  return Math.min(3, marks.filter((mark) => mark.kind === "rule" && mark.x !== null && mark.label !== "").length);
}

/** Writes the names of rules: above vertical ones, over the right end of horizontal ones. */
export function drawRuleNames(group: SVGGElement, marks: Mark[], plane: Plane): void {
  const { font } = plane;
  const [left, right] = plane.x.range;
  const [bottom, top] = plane.y.range;
  const names: RuleName[] = [];
  const rows: [number, number][][] = [[], [], []];
  for (const mark of marks) {
    if (mark.kind !== "rule" || mark.label === "") continue;
    const wide = widthOf(mark.label, font);
    if (mark.x === null) {
      const y = pixel(plane.y, mark.y);
      if (y >= top - 1 && y <= bottom + 1) names.push({ label: mark.label, role: mark.role, x: right - 4, y: y - 5 < top + font ? y + font + 2 : y - 5, anchor: "end" });
      continue;
    }
    const x = pixel(plane.x, mark.x);
    if (!(x >= left - 1 && x <= right + 1)) continue;
    const anchor = x + 4 + wide <= right + 12 ? "start" : "end";
    const from = anchor === "start" ? x : x - wide - 8;
    const free = rows.findIndex((row) => row.every(([a, b]) => from > b || from + wide + 8 < a));
    const row = free < 0 ? 0 : free;
    (rows[row] as [number, number][]).push([from, from + wide + 8]);
    names.push({ label: mark.label, role: mark.role, x: anchor === "start" ? x + 2 : x - 2, y: top - 6 - row * (font + 3), anchor });
  }
  const elements = children(group, names.length, () => svg("text", { class: "halo" }));
  names.forEach((name, at) => {
    const text = elements[at] as SVGTextElement;
    set(text, { x: name.x, y: name.y, "text-anchor": name.anchor, class: `halo rule-name role-${name.role}`, "font-size": font });
    write(text, name.label);
  });
}

interface Entry {
  mark: Mark;
  guise: Guise;
}

/** What the legend lists: every kind of mark that has a name and is not named where it stands. */
export function entries(marks: Mark[], guises: Guise[], direct: boolean): Entry[] {
  const found = new Map<string, Entry>();
  // The dots of a line bear its name: one entry is enough, or none where the line is named at its end.
  const beside = new Set(direct ? named(marks).map(({ label, role }) => `${label}|${role}`) : []);
  marks.forEach((mark, at) => {
    if (mark.kind === "rule" || mark.kind === "note" || mark.label === "") return;
    const key = `${mark.label}|${mark.role}`;
    if (beside.has(key)) return;
    if (!found.has(key)) found.set(key, { mark, guise: guises[at] as Guise });
  });
  const list = [...found.values()];
  return list.length === 1 && marks.filter((mark) => mark.kind !== "rule" && mark.kind !== "note").length === 1 ? [] : list;
}

export const hasCrossed = (marks: Mark[]): boolean => marks.some((mark) => mark.kind === "bars" && mark.crossed.some(Boolean));

export const keyOf = (list: Entry[]): string =>
  list.map(({ mark, guise }) => `${mark.kind}|${"label" in mark ? mark.label : ""}|${mark.role}|${guise.dash}|${"marker" in mark ? mark.marker : ""}`).join("\n");

/** A legend's swatch: the mark itself, small. */
function swatch({ mark, guise }: Entry): SVGSVGElement {
  const picture = svg("svg", { width: 24, height: 14, viewBox: "0 0 24 14", "aria-hidden": "true" });
  const group = svg("g", { class: `mark ${mark.kind} role-${mark.role}${"thin" in mark && mark.thin ? " thin" : ""}` });
  if (mark.kind === "line") group.append(svg("path", { d: mark.closed ? marker("ring", 12, 7, 5) : "M1 7H23", "stroke-dasharray": guise.dash }));
  else if (mark.kind === "dots") group.append(svg("path", { d: marker(mark.marker, 12, 7, mark.marker === "ring" ? 4.5 : 4), class: `marker-${mark.marker}` }));
  else if (mark.kind === "bars") group.append(svg("g", {}, svg("rect", { x: 7, y: 1, width: 10, height: 12 })));
  else if (mark.kind === "intervals") group.append(svg("path", { class: "whisker", d: "M2 7H22M2 3V11M22 3V11" }), svg("path", { class: "middle", d: marker("square", 12, 7, 4) }));
  else group.append(svg("path", { d: "M2 2H22V12H2Z" }));
  picture.append(group);
  return picture;
}

function crossSwatch(): SVGSVGElement {
  return svg("svg", { width: 24, height: 14, viewBox: "0 0 24 14", "aria-hidden": "true" },
    svg("g", { class: "mark bars role-zero" }, svg("g", { class: "crossed" }, svg("path", { class: "cross", d: marker("cross", 12, 7, 4) }))));
}

export function legendItems(list: Entry[], crossed: boolean): HTMLElement[] {
  const items = list.map((entry) =>
    html("span", { class: "legend-item" }, swatch(entry), html("span", {}, "label" in entry.mark ? entry.mark.label : "")),
  );
  if (crossed) {
    items.push(html("span", { class: "legend-item" }, crossSwatch(), html("span", {}, "exactly zero or off")));
  }
  return items;
}

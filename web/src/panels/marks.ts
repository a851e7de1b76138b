// Each kind of mark, drawn into its own group. A group that exists is moved, not made anew.
import { children, set, svg } from "../dom";
import type { Band, Bars, Dots, Intervals, Line, Mark, Marker, Note, Num, Rule, Shape } from "../scene";
import { between, defined, polyline, type Point } from "./paths";
import type { Scale } from "./scales";

export interface Plane {
  x: Scale;
  y: Scale;
  font: number;
  small: boolean;
}

/** How a mark differs from the marks of the same role: the 2nd line is dashed, the 3rd dotted... */
export interface Guise {
  dash: string | null;
}

const DASHES: (string | null)[] = [null, "7 4", "2 4", "9 3 2 3", "12 3"];
const TRUTH_DASH = "6 5";

const round = (pixel: number): number => Math.round(pixel * 100) / 100;

/** The pixel of a value, or NaN where the scale has none. */
export function pixel(scale: Scale, value: Num | undefined): number {
  if (value === null || value === undefined || (scale.log && value <= 0)) return NaN;
  return round(scale(value));
}

/** The guises of a plot's marks, in their order. */
export function guises(marks: Mark[]): Guise[] {
  const lines = new Map<string, number>();
  return marks.map((mark) => {
    if (mark.kind === "rule") return { dash: mark.dashed ? "5 4" : null };
    if (mark.kind !== "line") return { dash: null };
    if (mark.role === "truth" || mark.role === "zero") return { dash: TRUTH_DASH };
    if (mark.thin) return { dash: mark.dashed ? "4 3" : null };
    const key = mark.role;
    const before = lines.get(key) ?? 0;
    lines.set(key, before + 1);
    return { dash: mark.dashed ? (before ? "2 4" : "7 4") : (DASHES[before % DASHES.length] ?? null) };
  });
}

export function drawMark(group: SVGGElement, mark: Mark, plane: Plane, guise: Guise): void {
  set(group, {
    class: `mark ${mark.kind} role-${mark.role}${"thin" in mark && mark.thin ? " thin" : ""}`,
    "data-mark": mark.kind === "note" ? mark.text : mark.label,
  });
  switch (mark.kind) {
    case "line":
      return drawLine(group, mark, plane, guise);
    case "dots":
      return drawDots(group, mark, plane);
    case "band":
      return drawBand(group, mark, plane);
    case "rule":
      return drawRule(group, mark, plane, guise);
    case "bars":
      return drawBars(group, mark, plane);
    case "intervals":
      return drawIntervals(group, mark, plane);
    case "shape":
      return drawShape(group, mark, plane);
    case "note":
      return drawNote(group, mark, plane);
  }
}

const points = (xs: Num[], ys: Num[], { x, y }: Plane): Point[] =>
  xs.map((value, at) => [pixel(x, value), pixel(y, ys[at])]);

const only = (group: SVGGElement): SVGPathElement => children(group, 1, () => svg("path"))[0] as SVGPathElement;

function drawLine(group: SVGGElement, mark: Line, plane: Plane, { dash }: Guise): void {
  const d = polyline(points(mark.x, mark.y, plane));
  set(only(group), { d: d && mark.closed ? `${d}Z` : d, "stroke-dasharray": dash });
}

function drawBand(group: SVGGElement, mark: Band, plane: Plane): void {
  set(only(group), { d: between(points(mark.x, mark.low, plane), points(mark.x, mark.high, plane)) });
}

function drawShape(group: SVGGElement, mark: Shape, plane: Plane): void {
  const d = polyline(points(mark.x, mark.y, plane));
  set(only(group), { d: d ? `${d}Z` : "" });
}

/** The outline of a marker around (x, y); its first point is `M x-r y`, so that a test can read it back. */
export function marker(kind: Marker, x: number, y: number, r: number): string {
  if (kind === "cross") return `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;
  if (kind === "square") return `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`;
  if (kind === "diamond") return `M${x - r} ${y}l${r} ${-r}l${r} ${r}l${-r} ${r}z`;
  return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`;
}

export const radius = (kind: Marker, count: number, small: boolean): number => {
  const full = kind === "ring" ? 5 : kind === "diamond" ? 5 : kind === "cross" ? 4 : 4;
  return count > 300 || small ? full * 0.6 : count > 80 ? full * 0.75 : full;
};

function drawDots(group: SVGGElement, mark: Dots, plane: Plane): void {
  const r = radius(mark.marker, mark.x.length, plane.small);
  const d = points(mark.x, mark.y, plane)
    .filter(defined)
    .map(([x, y]) => marker(mark.marker, x, y, r))
    .join("");
  set(only(group), { d, class: `marker-${mark.marker}` });
}

function drawRule(group: SVGGElement, mark: Rule, { x, y }: Plane, { dash }: Guise): void {
  const [left, right] = x.range;
  const [bottom, top] = y.range;
  const at = mark.x !== null ? pixel(x, mark.x) : pixel(y, mark.y);
  const within = mark.x !== null ? at >= left - 0.5 && at <= right + 0.5 : at <= bottom + 0.5 && at >= top - 0.5;
  const d = !within ? "" : mark.x !== null ? `M${at} ${bottom}V${top}` : `M${left} ${at}H${right}`;
  set(only(group), { d, "stroke-dasharray": dash });
}

/** A cross of half-width r. */
const cross = (x: number, y: number, r: number): string => `M${x - r} ${y - r}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;

function drawBars(group: SVGGElement, mark: Bars, plane: Plane): void {
  const [along, across] = mark.sideways ? [plane.y, plane.x] : [plane.x, plane.y];
  const foot = across.log && mark.base <= 0 ? across.range[0] : pixel(across, mark.base);
  const bars = children(group, mark.at.length, (at) => svg("g", { "data-bar": at }, svg("rect"), svg("path", { class: "cross" })));
  mark.at.forEach((place, at) => {
    const bar = bars[at] as SVGGElement;
    const [rect, sign] = Array.from(bar.children) as [SVGRectElement, SVGPathElement];
    const one = pixel(along, place - mark.width / 2);
    const two = pixel(along, place + mark.width / 2);
    const tip = pixel(across, mark.value[at]);
    const [start, thick] = [Math.min(one, two), Math.max(Math.abs(two - one), 0.8)];
    const [low, long] = [Math.min(foot, tip), Math.abs(tip - foot)];
    const crossed = mark.crossed[at] === true;
    const missing = tip !== tip;
    set(bar, { class: crossed ? "crossed" : null, "data-crossed": crossed ? "true" : null });
    set(
      rect,
      missing
        ? { x: 0, y: 0, width: 0, height: 0 }
        : mark.sideways
          ? { x: low, y: round(start), width: round(long), height: round(thick) }
          : { x: round(start), y: low, width: round(thick), height: round(long) },
    );
    if (!crossed) {
      set(sign, { d: null });
      return;
    }
    const middle = start + thick / 2;
    const heart = missing ? foot : (foot + tip) / 2;
    const r = Math.max(2.5, Math.min(4.5, thick * 0.4));
    set(sign, { d: mark.sideways ? cross(round(heart), round(middle), r) : cross(round(middle), round(heart), r) });
  });
}

const CAP = 4.5;

function drawIntervals(group: SVGGElement, mark: Intervals, plane: Plane): void {
  const [along, across] = mark.sideways ? [plane.y, plane.x] : [plane.x, plane.y];
  const rows = children(group, mark.at.length, (at) =>
    svg("g", { "data-interval": at }, svg("path", { class: "points" }), svg("path", { class: "whisker" }), svg("path", { class: "middle" })),
  );
  const place = (a: number, b: number): string => (mark.sideways ? `${b} ${a}` : `${a} ${b}`);
  mark.at.forEach((where, at) => {
    const [dots, whisker, middle] = Array.from((rows[at] as SVGGElement).children) as SVGPathElement[];
    const a = pixel(along, where);
    const [low, mean, high] = [mark.low[at], mark.middle[at], mark.high[at]].map((value) => pixel(across, value)) as [number, number, number];
    const off = round(Math.min(9, Math.abs(along(1) - along(0)) * 0.26));
    const seen = (mark.points[at] ?? [])
      .map((value, nth) => [pixel(across, value), a + off + ((nth % 3) - 1) * 1.5] as Point)
      .filter(defined)
      .map(([b, aside]) => (mark.sideways ? marker("dot", b, aside, 2) : marker("dot", aside, b, 2)));
    set(dots as SVGPathElement, { d: seen.join("") });
    const whole = low === low && high === high;
    set(whisker as SVGPathElement, {
      d: whole
        ? `M${place(a, low)}L${place(a, high)}M${place(a - CAP, low)}L${place(a + CAP, low)}M${place(a - CAP, high)}L${place(a + CAP, high)}`
        : "",
    });
    const at2 = mark.sideways ? ([mean, a] as Point) : ([a, mean] as Point);
    set(middle as SVGPathElement, { d: defined(at2) ? marker("square", at2[0], at2[1], 4) : "" });
  });
}

function drawNote(group: SVGGElement, mark: Note, { x, y, font }: Plane): void {
  const label = children(group, 1, () => svg("text", { class: "halo" }))[0] as SVGTextElement;
  const [left, right] = x.range;
  const at = Math.max(left, Math.min(right, pixel(x, mark.x)));
  const share = (at - left) / (right - left);
  const anchor = share > 0.7 ? "end" : share < 0.3 ? "start" : "middle";
  const high = Math.max(y.range[1] + font, Math.min(y.range[0] - 4, pixel(y, mark.y)));
  set(label, { x: at, y: high, "text-anchor": anchor, "font-size": font });
  if (label.textContent !== mark.text) label.textContent = mark.text;
}

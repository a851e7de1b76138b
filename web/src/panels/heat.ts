// A grid of values from light to dark; what is not a number is crossed.
import { children, html, set, svg, write } from "../dom";
import type { Axis, Heat, Num } from "../scene";
import { short } from "../text";
import { axisGroups, drawBottom, drawLeft, leans, roomBelow, roomLeft } from "./axes";
import { Drawing, type Around, type Stop } from "./drawing";
import { marker } from "./marks";
import { scale, ticks, type Ends, type Scale, type Tick } from "./scales";

const STEPS = 5; // of the legend

/** Where the texts of an axis stand among `count` cells: at cells where it names them, else along low...high. */
function cellTicks(axis: Axis, count: number, most: number): Tick[] {
  if (axis.ticks.length || axis.low === null || axis.high === null || count < 2) {
    return axis.ticks.map(([at, text]) => ({ at, text }));
  }
  const along = scale([axis.low, axis.high], [0, count - 1], axis.log);
  return ticks(axis, [axis.low, axis.high], most).map(({ at, text }) => ({ at: along(at), text }));
}

export class HeatView extends Drawing<Heat> {
  private readonly bottomAxis = axisGroups();
  private readonly leftAxis = axisGroups();
  private readonly cells = svg("g", { class: "cells" });
  private readonly rings = svg("g", { class: "rings" });
  private readonly texts = svg("g", { class: "cell-texts" });
  private readonly finger = svg("g", { class: "finger" });
  private legendKey = "";
  private x: Scale | undefined;
  private y: Scale | undefined;

  constructor(around: Around) {
    super(around);
    this.svg.append(this.cells, this.texts, this.rings, this.bottomAxis.ticks, this.bottomAxis.title, this.leftAxis.ticks, this.leftAxis.title, this.finger);
  }

  private ends(heat: Heat): Ends {
    const all = heat.values.flat().filter((value): value is number => value !== null);
    const low = heat.low ?? Math.min(...all, Infinity);
    const high = heat.high ?? Math.max(...all, -Infinity);
    if (heat.signed) {
      const most = Math.max(Math.abs(low), Math.abs(high));
      return [-most, most];
    }
    return Number.isFinite(low) && Number.isFinite(high) ? [low, high] : [0, 1];
  }

  protected draw(heat: Heat, width: number): void {
    const rows = heat.values.length;
    const columns = heat.values[0]?.length ?? 0;
    set(this.element, { class: "panel heat" });
    this.legendOf(heat);
    if (!rows || !columns) return;
    const font = this.around.font();
    const yTicks = cellTicks(heat.y, rows, 6);
    const left = Math.max(roomLeft(yTicks, width, font), 12);
    const right = width - 12;
    const xTicks = cellTicks(heat.x, columns, Math.max(2, (right - left) / 84));
    const lean = leans(heat.x, xTicks, right - left, font);
    const top = heat.y.label ? font + 12 : 6;
    const reach = this.around.reach() || heat.height * 1.35;
    const high = Math.round(Math.min(Math.max(heat.height, width * 0.45), Math.max(reach, heat.height)));
    const bottom = high - roomBelow(heat.x, xTicks, font, lean);
    const x = scale([-0.5, columns - 0.5], [left, right], false);
    const y = scale([-0.5, rows - 0.5], [bottom, top], false); // the first row lies at the bottom, as on an axis
    [this.x, this.y] = [x, y];
    this.size(width, high);
    drawBottom(this.bottomAxis, { ...heat.x, ticks: heat.x.ticks }, xTicks, x, y, font, lean, width);
    drawLeft(this.leftAxis, heat.y, yTicks, x, y, font, font);
    this.drawCells(heat, columns, font);
  }

  private drawCells(heat: Heat, columns: number, font: number): void {
    const [x, y] = [this.x as Scale, this.y as Scale];
    const [low, high] = this.ends(heat);
    const wide = x(1) - x(0);
    const tall = y(0) - y(1);
    const gap = Math.min(wide, tall) > 8 ? 1 : 0;
    const flat = heat.values.flat();
    set(this.cells, { class: `cells${heat.texts.length ? " texted" : ""}` });
    const cells = children(this.cells, flat.length, () => svg("g", {}, svg("rect"), svg("path", { class: "cross" })));
    flat.forEach((value, at) => {
      const [column, row] = [at % columns, Math.floor(at / columns)];
      const cell = cells[at] as SVGGElement;
      const [rect, sign] = Array.from(cell.children) as [SVGRectElement, SVGPathElement];
      const share = shade(value, low, high, heat.signed);
      set(cell, { class: value === null ? "missing" : share < 0 ? "less" : "more", "data-cell": `${column},${row}`, "data-value": value });
      set(rect, {
        x: (x(column) - wide / 2 + gap / 2).toFixed(1),
        y: (y(row) - tall / 2 + gap / 2).toFixed(1),
        width: Math.max(wide - gap, 0.5).toFixed(1),
        height: Math.max(tall - gap, 0.5).toFixed(1),
      });
      rect.style.setProperty("--t", value === null ? "0" : Math.abs(share).toFixed(3));
      set(sign, { d: value === null ? marker("cross", x(column), y(row), Math.min(5, wide / 3, tall / 3)) : null });
    });
    const rings = children(this.rings, heat.marked.length, () => svg("rect"));
    heat.marked.forEach(([column, row], at) => {
      set(rings[at] as SVGRectElement, { x: x(column) - wide / 2, y: y(row) - tall / 2, width: wide, height: tall, rx: 2 });
    });
    const words = heat.texts.flatMap((line, row) => line.map((text, column) => ({ text, row, column })));
    const texts = children(this.texts, words.length, () => svg("text", { "text-anchor": "middle" }));
    words.forEach(({ text, row, column }, at) => {
      const element = texts[at] as SVGTextElement;
      set(element, { x: x(column).toFixed(1), y: (y(row) + font * 0.35).toFixed(1), "font-size": font });
      write(element, text);
    });
  }

  private legendOf(heat: Heat): void {
    const [low, high] = this.ends(heat);
    const key = `${low},${high},${heat.label},${heat.signed}`;
    if (key === this.legendKey) return;
    this.legendKey = key;
    const bar = svg("svg", { width: 100, height: 12, class: "cells", "aria-hidden": "true" });
    for (let at = 0; at < STEPS; at += 1) {
      const share = heat.signed ? (at * 2) / (STEPS - 1) - 1 : at / (STEPS - 1);
      const rect = svg("rect", { x: at * 20, y: 0, width: 19, height: 12 });
      rect.style.setProperty("--t", Math.abs(share).toFixed(3));
      bar.append(svg("g", { class: share < 0 ? "less" : "more" }, rect));
    }
    this.legend.replaceChildren(
      html("span", { class: "legend-item" }, html("span", {}, heat.label), html("span", {}, short(low)), bar, html("span", {}, short(high))),
    );
  }

  private at(column: number, row: number): Stop | undefined {
    const heat = this.panel;
    const value = heat?.values[row]?.[column];
    if (!heat || !this.x || !this.y || value === undefined) return undefined;
    const head = [name(heat.x, column, heat.values[0]?.length ?? 1), name(heat.y, row, heat.values.length)].filter(Boolean).join(" · ");
    return { x: this.x(column), y: this.y(row), head, readings: [{ label: heat.label || "value", text: short(value), role: "train" }] };
  }

  protected near(x: number, y: number): Stop | undefined {
    return this.x && this.y ? this.at(Math.round(this.x.invert(x)), Math.round(this.y.invert(y))) : undefined;
  }

  protected walk(): Stop[] {
    const stops = this.panel?.values.flatMap((line, row) => line.map((_, column) => this.at(column, row))) ?? [];
    return stops.filter((stop): stop is Stop => stop !== undefined);
  }

  protected override mark(stop: Stop | undefined): void {
    if (!stop || !this.x || !this.y) return this.finger.replaceChildren();
    const wide = this.x(1) - this.x(0);
    const tall = this.y(0) - this.y(1);
    this.finger.replaceChildren(svg("rect", { class: "ring", x: stop.x - wide / 2, y: stop.y - tall / 2, width: wide, height: tall }));
  }
}

/** How dark a value is drawn, 0 to 1; below 0 on the other arm of a signed scale. */
function shade(value: Num, low: number, high: number, signed: boolean): number {
  if (value === null || high === low) return 0;
  if (signed) return Math.max(-1, Math.min(1, value / high));
  return Math.max(0, Math.min(1, (value - low) / (high - low)));
}

/** A cell's name along one axis. */
function name(axis: Axis, at: number, count: number): string {
  const own = axis.ticks.find(([place]) => Math.round(place) === at);
  if (own) return [axis.label, own[1]].filter(Boolean).join(" ");
  if (axis.low === null || axis.high === null || count < 2) return axis.label ? `${axis.label} ${at + 1}` : "";
  return `${axis.label} ${short(scale([axis.low, axis.high], [0, count - 1], axis.log).invert(at))}`.trim();
}

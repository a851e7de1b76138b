// Parallel coordinates: a line a member over several axes; side by side where wide, one below the other where not.
import { children, set, svg, write } from "../dom";
import type { Axis, Parallel } from "../scene";
import { cut, short } from "../text";
import { Drawing, type Around, type Stop } from "./drawing";
import { scale, ticks, type Ends, type Scale } from "./scales";

const UPRIGHT_FROM = 96; // CSS pixels for each axis

export class ParallelView extends Drawing<Parallel> {
  private readonly axes = svg("g");
  private readonly lines = svg("g");
  private readonly finger = svg("g", { class: "finger" });
  private spots: [number, number][][] = [];

  constructor(around: Around) {
    super(around);
    this.svg.append(this.lines, this.axes, this.finger);
  }

  private ends(axis: Axis, values: (number | null | undefined)[]): Ends {
    const seen = values.filter((value): value is number => typeof value === "number" && (!axis.log || value > 0));
    const places = axis.ticks.map(([place]) => place);
    const low = axis.low ?? Math.min(...seen, ...places);
    const high = axis.high ?? Math.max(...seen, ...places);
    if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
    return low === high ? [axis.log ? low / 2 : low - 0.5, axis.log ? high * 2 : high + 0.5] : [low, high];
  }

  protected draw(panel: Parallel, width: number): void {
    const font = this.around.font();
    const count = panel.axes.length;
    const upright = width / Math.max(1, count) >= UPRIGHT_FROM;
    const row = font * 2 + 30;
    const high = upright ? Math.max(panel.height, this.around.reach()) : row * count + 10;
    set(this.element, { class: "panel parallel" });
    this.size(width, high);
    const edge = upright ? 46 : 16;
    const place = (at: number): number =>
      upright ? edge + (count > 1 ? ((width - 2 * edge) * at) / (count - 1) : 0) : row * at + font * 2 + 4;
    const scales = panel.axes.map((axis, at) =>
      scale(this.ends(axis, panel.values.map((line) => line[at])), upright ? [high - font - 12, font + 18] : [edge, width - edge], axis.log),
    );
    this.spots = panel.values.map((line) =>
      line.map((value, at): [number, number] => {
        const along = value === null ? NaN : (scales[at] as Scale)(value);
        return upright ? [place(at), along] : [along, place(at)];
      }),
    );
    this.drawLines(panel);
    this.drawAxes(panel, scales, upright, place, font, width);
  }

  private drawLines(panel: Parallel): void {
    const chosen = new Set(panel.chosen);
    const order = panel.values.map((_, at) => at).sort((a, b) => Number(chosen.has(a)) - Number(chosen.has(b)));
    const paths = children(this.lines, order.length, () => svg("path"));
    order.forEach((member, at) => {
      const spots = (this.spots[member] as [number, number][]).filter(([x, y]) => x === x && y === y);
      set(paths[at] as SVGPathElement, {
        d: spots.map(([x, y], nth) => `${nth ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""),
        class: chosen.has(member) ? "member chosen" : "member",
        "data-member": member,
      });
    });
  }

  private drawAxes(panel: Parallel, scales: Scale[], upright: boolean, place: (at: number) => number, font: number, width: number): void {
    const groups = children(this.axes, panel.axes.length, () => svg("g", {}, svg("path", { class: "frame" }), svg("text", { class: "axis-title" }), svg("g", { class: "ticks" })));
    panel.axes.forEach((axis, at) => {
      const own = scales[at] as Scale;
      const [rule, title, labels] = Array.from((groups[at] as SVGGElement).children) as [SVGPathElement, SVGTextElement, SVGGElement];
      const where = place(at);
      const [one, two] = own.range;
      set(rule, { d: upright ? `M${where} ${one}V${two}` : `M${one} ${where}H${two}` });
      const anchor = !upright || at === 0 ? "start" : at === panel.axes.length - 1 ? "end" : "middle";
      const x = !upright || at === 0 ? 0 : at === panel.axes.length - 1 ? width : where;
      set(title, { x, y: upright ? font : where - font * 0.7, "text-anchor": anchor, "font-size": font });
      write(title, cut(axis.label, upright ? width / panel.axes.length - 8 : width, font));
      const found = ticks(axis, own.domain, upright ? 4 : 3);
      const texts = children(labels, found.length, () => svg("text", { class: "halo" }));
      found.forEach((tick, nth) => {
        const along = own(tick.at);
        const last = upright && at === panel.axes.length - 1;
        set(texts[nth] as SVGTextElement, {
          x: upright ? where + (last ? 6 : -6) : along,
          y: upright ? along + font * 0.35 : where + font + 5,
          "text-anchor": upright ? (last ? "start" : "end") : "middle",
          "font-size": font,
        });
        write(texts[nth] as SVGTextElement, tick.text);
      });
    });
  }

  private stop(member: number, at: number): Stop | undefined {
    const spot = this.spots[member]?.[at];
    if (!spot || !this.panel) return undefined;
    const readings = this.panel.axes.map((axis, nth) => {
      const value = this.panel?.values[member]?.[nth];
      const named = axis.ticks.find(([place]) => place === value);
      return { label: axis.label, text: named ? named[1] : short(value), role: "plain" as const };
    });
    return { x: spot[0], y: spot[1], head: `member ${member + 1}${this.panel.chosen.includes(member) ? " (chosen)" : ""}`, readings };
  }

  protected near(x: number, y: number): Stop | undefined {
    let best: [number, number] | undefined;
    let least = 24;
    this.spots.forEach((spots, member) =>
      spots.forEach(([px, py], at) => {
        const away = Math.hypot(px - x, py - y);
        if (away < least) [best, least] = [[member, at], away];
      }),
    );
    return best && this.stop(...best);
  }

  protected walk(): Stop[] {
    return this.spots.map((_, member) => this.stop(member, 0)).filter((stop): stop is Stop => !!stop);
  }

  protected override mark(stop: Stop | undefined): void {
    if (!stop) return this.finger.replaceChildren();
    const member = this.spots.findIndex((spots) => spots.some(([x, y]) => x === stop.x && y === stop.y));
    const path = this.lines.querySelector(`[data-member="${member}"]`)?.getAttribute("d");
    this.finger.replaceChildren(svg("path", { class: "ring", d: path ?? "" }), svg("circle", { class: "ring", cx: stop.x, cy: stop.y, r: 5 }));
  }
}

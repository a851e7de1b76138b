// Marks over two axes. Laid out at the panel's true width; a frame moves only the marks that it changed.
import { children, set, svg } from "../dom";
import type { Axis, Mark, Plot } from "../scene";
import { axisGroups, drawBottom, drawLeft, leans, roomBelow, roomLeft } from "./axes";
import { Drawing, type Around, type Stop } from "./drawing";
import { drawNames, drawRuleNames, entries, hasCrossed, keyOf, legendItems, roomForNames, ruleRows } from "./labels";
import { drawMark, guises, type Plane } from "./marks";
import { nearest, walk } from "./reading";
import { ends, scale, ticks, type Ends } from "./scales";

const RATIO = 0.45; // of height to width, for a panel that stands alone
let count = 0; // of clip paths on the page

export class PlotView extends Drawing<Plot> {
  private readonly bottomAxis = axisGroups();
  private readonly leftAxis = axisGroups();
  private readonly clip = svg("rect");
  private readonly frame = svg("path", { class: "frame" });
  private readonly marks = svg("g");
  private readonly names = svg("g", { class: "names" });
  private readonly ruleNames = svg("g", { class: "names" });
  private readonly finger = svg("g", { class: "finger" });
  private drawn: Mark[] = [];
  private planeKey = "";
  private legendKey = "";
  private plane: Plane | undefined;

  constructor(around: Around) {
    super(around);
    const id = `poise-clip-${(count += 1)}`;
    this.marks.setAttribute("clip-path", `url(#${id})`);
    this.svg.append(
      svg("defs", {}, svg("clipPath", { id }, this.clip)),
      ...[this.bottomAxis, this.leftAxis].map(({ grid }) => grid),
      this.frame,
      this.marks,
      ...[this.bottomAxis, this.leftAxis].flatMap((axis) => [axis.ticks, axis.title]),
      this.names,
      this.ruleNames,
      this.finger,
    );
  }

  protected draw(plot: Plot, width: number): void {
    set(this.element, { class: `panel plot${plot.small ? " small" : ""}` });
    const plane = this.layOut(plot, width);
    const direct = this.direct > 0;
    const looks = guises(plot.marks);
    const key = [plane.x.domain, plane.x.range, plane.y.domain, plane.y.range, plane.font, plane.x.log, plane.y.log].join();
    const moved = key !== this.planeKey;
    this.planeKey = key;
    this.plane = plane;
    const groups = children(this.marks, plot.marks.length, () => svg("g"));
    plot.marks.forEach((mark, at) => {
      const before = this.drawn[at];
      if (!moved && before === mark) return;
      const group = groups[at] as SVGGElement;
      if (before && before.kind !== mark.kind) group.replaceChildren();
      drawMark(group, mark, plane, looks[at] as { dash: string | null });
    });
    this.drawn = plot.marks;
    drawNames(this.names, plot.marks, plane, direct);
    drawRuleNames(this.ruleNames, plot.marks, plane);
    this.drawLegend(plot, looks, direct);
  }

  private direct = 0; // room for the names at line ends; 0 where a legend lists them

  private layOut(plot: Plot, width: number): Plane {
    const font = this.around.font();
    const { marks } = plot;
    const high = this.heightFor(plot, width);
    const domains: [Ends, Ends] = [ends(plot.x, marks, "x"), ends(plot.y, marks, "y")];
    this.direct = roomForNames(marks, width, font, plot.small);
    const [xAxis, yAxis] = plot.small ? [untitled(plot.x), untitled(plot.y)] : [plot.x, plot.y];
    const yTicks = ticks(plot.y, domains[1], Math.max(2, Math.round(high / 52)));
    const left = roomLeft(yTicks, width, font);
    const right = width - Math.max(this.direct, plot.small ? 10 : 16);
    const xTicks = ticks(plot.x, domains[0], Math.max(2, Math.round((right - left) / 84)));
    const lean = leans(plot.x, xTicks, right - left, font);
    const title = yAxis.label ? font + 8 : 4;
    const top = title + ruleRows(marks) * (font + 3) + 4;
    const bottom = high - roomBelow(xAxis, xTicks, font, lean);
    let across: Ends = [left, right];
    let upright: Ends = [bottom, top];
    if (plot.square) [across, upright] = squared(across, upright, domains);
    const plane: Plane = {
      x: scale(domains[0], across, plot.x.log),
      y: scale(domains[1], upright, plot.y.log),
      font,
      small: plot.small,
    };
    this.size(width, high);
    set(this.svg, {
      "data-x": [...domains[0], ...across, plane.x.log ? 1 : 0].join(),
      "data-y": [...domains[1], ...upright, plane.y.log ? 1 : 0].join(),
    });
    set(this.clip, { x: across[0] - 5, y: upright[1] - 5, width: across[1] - across[0] + 10, height: upright[0] - upright[1] + 10 });
    drawBottom(this.bottomAxis, xAxis, xTicks, plane.x, plane.y, font, lean, width);
    drawLeft(this.leftAxis, yAxis, yTicks, plane.x, plane.y, font, font);
    const zero = domains[1][0] < 0 && domains[1][1] > 0 && !plot.y.log && plot.y.ticks.length === 0 ? `M${across[0]} ${Math.round(plane.y(0)) + 0.5}H${across[1]}` : "";
    set(this.frame, { d: `M${across[0]} ${Math.round(upright[0]) + 0.5}H${across[1]}${zero}` });
    return plane;
  }

  private heightFor(plot: Plot, width: number): number {
    if (plot.small) return Math.round(Math.min(plot.height, Math.max(150, width * 0.85)));
    if (plot.square) return Math.round(Math.min(Math.max(plot.height, width * 0.8), width + 50, 460));
    const reach = this.around.reach() || plot.height * 1.35;
    return Math.round(Math.min(Math.max(plot.height, width * RATIO), Math.max(reach, plot.height)));
  }

  private drawLegend(plot: Plot, looks: { dash: string | null }[], direct: boolean): void {
    const list = plot.small ? [] : entries(plot.marks, looks, direct);
    const crossed = !plot.small && hasCrossed(plot.marks);
    const key = `${keyOf(list)}${crossed}`;
    if (key === this.legendKey) return;
    this.legendKey = key;
    this.legend.replaceChildren(...legendItems(list, crossed));
  }

  protected near(x: number, y: number): Stop | undefined {
    return this.panel && this.plane && nearest(this.panel, this.plane, x, y);
  }

  protected walk(): Stop[] {
    return this.panel && this.plane ? walk(this.panel, this.plane) : [];
  }

  protected override mark(stop: Stop | undefined): void {
    const place = this.plane;
    if (!stop || !place) return this.finger.replaceChildren();
    const [bottom, top] = place.y.range;
    const hair = svg("path", { class: "hair", d: `M${stop.x} ${bottom}V${top}` });
    this.finger.replaceChildren(hair, svg("circle", { cx: stop.x, cy: stop.y, r: 4.5, class: "ring" }));
  }
}

/** Small multiples are titled together, in their legend. */
const untitled = (axis: Axis): Axis => ({ ...axis, label: "" });

/** Ranges with the same number of pixels a unit on both axes, in the middle of the given ones. */
function squared(across: Ends, upright: Ends, [x, y]: [Ends, Ends]): [Ends, Ends] {
  const wide = across[1] - across[0];
  const high = upright[0] - upright[1];
  const unit = Math.min(wide / (x[1] - x[0]), high / (y[1] - y[0]));
  const left = across[0] + (wide - unit * (x[1] - x[0])) / 2;
  const top = upright[1] + (high - unit * (y[1] - y[0])) / 2;
  return [
    [left, left + unit * (x[1] - x[0])],
    [top + unit * (y[1] - y[0]), top],
  ];
}

// A drawing of a network: units in columns, weights as lines. Dropped units are grey, dashed and crossed.
import { children, set, svg, write } from "../dom";
import type { Network, Num } from "../scene";
import { cut, short, widest, widthOf } from "../text";
import { Drawing, type Around, type Stop } from "./drawing";
import { marker } from "./marks";

interface Spot {
  x: number;
  y: number;
}

export class NetworkView extends Drawing<Network> {
  private readonly edges = svg("g", { class: "edges" });
  private readonly units = svg("g", { class: "units" });
  private readonly names = svg("g", { class: "names" });
  private readonly finger = svg("g", { class: "finger" });
  private spots: Spot[][] = [];
  private radius = 10;
  private sides: [number, number] = [0, 0]; // room for the texts beside the first and the last layer

  constructor(around: Around) {
    super(around);
    this.svg.append(this.edges, this.units, this.names, this.finger);
  }

  protected draw(network: Network, width: number): void {
    set(this.element, { class: "panel network" });
    const font = this.around.font();
    const reach = this.around.reach() || network.height * 1.25;
    const high = Math.round(Math.min(Math.max(network.height, width * 0.42), Math.max(reach, network.height)));
    const named = network.names.some(Boolean);
    const bottom = high - (named ? font + 12 : 4);
    const most = Math.max(1, ...network.layers.map((layer) => layer.length));
    const space = (bottom - 4) / most;
    this.radius = Math.max(3.5, Math.min(15, space * 0.36, width / (network.layers.length * 4)));
    const side = (layer: Network["layers"][number] | undefined): number =>
      Math.min(width / 4, this.radius + 6 + Math.max(font, widest((layer ?? []).map(({ text }) => text), font)));
    const last = network.layers.length - 1;
    const margin = side(network.layers[0]);
    this.sides = [margin, side(network.layers[last])];
    const step = last > 0 ? (width - margin - this.sides[1]) / last : 0;
    this.spots = network.layers.map((layer, column) => {
      const gap = Math.min(space, 44);
      const first = 4 + (bottom - 4) / 2 - ((layer.length - 1) * gap) / 2;
      return layer.map((_, row) => ({ x: margin + column * step, y: first + row * gap }));
    });
    this.size(width, high);
    this.drawEdges(network);
    this.drawUnits(network, font, step);
    const names = children(this.names, named ? network.names.length : 0, () => svg("text", { class: "axis-title" }));
    names.forEach((text, column) => {
      const anchor = column === 0 ? "start" : column === last ? "end" : "middle";
      const x = column === 0 ? 0 : column === last ? width : margin + column * step;
      set(text, { x, y: high - 4, "text-anchor": anchor, "font-size": font });
      const [name, room] = [network.names[column] ?? "", Math.max(step, 60) - 6];
      // The last word tells "hidden 1" from "hidden 2".
      write(text, cut(widthOf(name, font) > room ? name.slice(name.lastIndexOf(" ") + 1) : name, room, font));
    });
  }

  private drawEdges(network: Network): void {
    const all: { key: string; weight: Num; from: Spot; to: Spot; off: boolean }[] = [];
    network.edges.forEach((matrix, layer) =>
      matrix.forEach((row, to) =>
        row.forEach((weight, from) => {
          if (weight === 0) return;
          const off = weight === null || network.layers[layer]?.[from]?.dropped === true || network.layers[layer + 1]?.[to]?.dropped === true;
          const [start, end] = [this.spots[layer]?.[from], this.spots[layer + 1]?.[to]];
          if (start && end) all.push({ key: `${layer}:${from}:${to}`, weight, from: start, to: end, off });
        }),
      ),
    );
    const most = Math.max(1e-9, ...all.map(({ weight }) => Math.abs(weight ?? 0)));
    const paths = children(this.edges, all.length, () => svg("path"));
    all.forEach(({ key, weight, from, to, off }, at) => {
      const size = Math.abs(weight ?? 0) / most;
      set(paths[at] as SVGPathElement, {
        d: `M${from.x.toFixed(1)} ${from.y.toFixed(1)}L${to.x.toFixed(1)} ${to.y.toFixed(1)}`,
        class: off ? "edge off" : (weight ?? 0) < 0 ? "edge less" : "edge more",
        "data-edge": key,
        "stroke-width": off ? 1 : (0.6 + 2.2 * size).toFixed(2),
        "stroke-opacity": off ? null : (0.35 + 0.6 * size).toFixed(2),
      });
    });
  }

  private drawUnits(network: Network, font: number, step: number): void {
    const r = this.radius;
    const values = network.layers.flat().map(({ value }) => Math.abs(value ?? 0));
    const most = Math.max(1e-9, ...values);
    const layers = children(this.units, network.layers.length, () => svg("g"));
    network.layers.forEach((layer, column) => {
      const units = children(layers[column] as SVGGElement, layer.length, () => svg("g", {}, svg("circle"), svg("path", { class: "cross" }), svg("text")));
      layer.forEach((unit, row) => {
        const spot = this.spots[column]?.[row] as Spot;
        const group = units[row] as SVGGElement;
        const [circle, sign, text] = Array.from(group.children) as [SVGCircleElement, SVGPathElement, SVGTextElement];
        const filled = unit.value === null ? 1 : Math.abs(unit.value) / most;
        set(group, {
          class: unit.dropped ? "unit dropped" : (unit.value ?? 0) < 0 ? "unit less" : "unit more",
          "data-unit": `${column}:${row}`,
          "data-dropped": unit.dropped ? "true" : null,
        });
        set(circle, { cx: spot.x.toFixed(1), cy: spot.y.toFixed(1), r: r.toFixed(1), "fill-opacity": unit.dropped ? null : filled.toFixed(3) });
        set(sign, { d: unit.dropped ? marker("cross", spot.x, spot.y, r * 0.5) : null });
        const last = column === network.layers.length - 1;
        set(text, {
          x: (column === 0 ? spot.x - r - 5 : spot.x + r + 5).toFixed(1),
          y: (spot.y + font * 0.35).toFixed(1),
          "text-anchor": column === 0 ? "end" : "start",
          class: "halo",
          "font-size": font,
        });
        write(text, cut(unit.text, (column === 0 ? this.sides[0] : last ? this.sides[1] : step / 2) - r - 5, font));
      });
    });
  }

  private stop(column: number, row: number): Stop | undefined {
    const unit = this.panel?.layers[column]?.[row];
    const spot = this.spots[column]?.[row];
    if (!unit || !spot) return undefined;
    const state = unit.dropped ? "dropped" : unit.value === null ? "kept" : short(unit.value);
    const name = this.panel?.names[column] || `layer ${column + 1}`;
    return { ...spot, head: `${name}, unit ${row + 1}`, readings: [{ label: unit.text, text: state, role: unit.dropped ? "zero" : "train" }] };
  }

  protected near(x: number, y: number): Stop | undefined {
    for (const [column, spots] of this.spots.entries()) {
      const row = spots.findIndex((spot) => Math.hypot(spot.x - x, spot.y - y) < this.radius + 4);
      if (row >= 0) return this.stop(column, row);
    }
    return undefined;
  }

  protected walk(): Stop[] {
    return this.spots.flatMap((spots, column) => spots.map((_, row) => this.stop(column, row)).filter((stop): stop is Stop => !!stop));
  }

  protected override mark(stop: Stop | undefined): void {
    this.finger.replaceChildren(...(stop ? [svg("circle", { class: "ring", cx: stop.x, cy: stop.y, r: this.radius + 4 })] : []));
  }
}

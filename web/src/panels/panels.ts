// A figure's panels: made where their kind is new, moved where it is not, and small multiples gathered in one grid.
import { html, set } from "../dom";
import type { Mark, Panel, Plot } from "../scene";
import type { Around, View } from "./drawing";
import { HeatView } from "./heat";
import { entries, hasCrossed, keyOf, legendItems } from "./labels";
import { guises } from "./marks";
import { NetworkView } from "./network";
import { ParallelView } from "./parallel";
import { ImagesView, NumbersView, TableView } from "./plain";
import { PlotView } from "./plot";

function viewOf(kind: Panel["kind"], around: Around): View {
  if (kind === "plot") return new PlotView(around);
  if (kind === "heat") return new HeatView(around);
  if (kind === "network") return new NetworkView(around);
  if (kind === "images") return new ImagesView(around);
  if (kind === "numbers") return new NumbersView();
  if (kind === "parallel") return new ParallelView(around);
  return new TableView();
}

const wide = (panel: Panel): boolean =>
  panel.kind === "table" || panel.kind === "numbers" || (panel.kind === "images" && panel.tiles.length > 6);
const small = (panel: Panel): panel is Plot => panel.kind === "plot" && panel.small;

export class Panels {
  readonly element = html("div", { "data-part": "panels", class: "panels" });
  /** How many rows the panels take in two columns. */
  rows = 1;
  private views: View[] = [];
  private shown: Panel[] = [];
  private layout = "";
  private groupLegends: { element: HTMLElement; key: string; from: number; to: number }[] = [];

  constructor(private readonly around: Around) {}

  update(panels: Panel[]): void {
    const layout = panels.map((panel) => `${panel.kind}${small(panel) ? "s" : ""}${wide(panel) ? "w" : ""}`).join();
    if (layout !== this.layout) this.build(panels);
    this.layout = layout;
    panels.forEach((panel, at) => {
      if (this.shown[at] !== panel) this.views[at]?.update(panel);
    });
    this.shown = panels;
    for (const group of this.groupLegends) this.legend(group, panels);
  }

  /** Draws all anew: the size of text has changed. */
  redraw(): void {
    this.shown.forEach((panel, at) => this.views[at]?.update(panel));
  }

  close(): void {
    for (const view of this.views) view.close();
  }

  private build(panels: Panel[]): void {
    this.close();
    this.shown = [];
    this.groupLegends = [];
    this.views = panels.map((panel) => viewOf(panel.kind, this.around));
    const content: HTMLElement[] = [];
    let group: HTMLElement | undefined;
    panels.forEach((panel, at) => {
      const element = set((this.views[at] as View).element, { "data-panel": at, "data-whole": wide(panel) });
      if (!small(panel)) {
        group = undefined;
        content.push(element);
        return;
      }
      if (!group) {
        const legend = html("div", { class: "legend" });
        group = html("div", { class: "multiples" });
        this.groupLegends.push({ element: legend, key: "", from: at, to: at });
        content.push(html("div", { class: "multiples-box", "data-whole": true }, legend, group));
      }
      (this.groupLegends[this.groupLegends.length - 1] as { to: number }).to = at;
      group.append(element);
    });
    for (const group of content) {
      const own = group.querySelector(".multiples");
      if (own) set(own, { "data-each": own.childElementCount % 3 === 0 ? 3 : own.childElementCount === 2 ? 2 : 4 });
    }
    this.rows = spread(content);
    set(this.element, { "data-count": content.length });
    this.element.replaceChildren(...content);
  }

  /** One legend for the small multiples beside each other. */
  private legend(group: { element: HTMLElement; key: string; from: number; to: number }, panels: Panel[]): void {
    const marks: Mark[] = [];
    const looks: { dash: string | null }[] = [];
    for (const panel of panels.slice(group.from, group.to + 1)) {
      if (panel.kind !== "plot") continue;
      marks.push(...panel.marks);
      looks.push(...guises(panel.marks));
    }
    const list = entries(marks, looks, false);
    const crossed = hasCrossed(marks);
    const first = panels[group.from] as Plot;
    const axes = [first.y.label && `up: ${first.y.label}`, first.x.label && `across: ${first.x.label}`].filter(Boolean).join(" · ");
    const key = `${keyOf(list)}${crossed}${axes}`;
    if (key === group.key) return;
    group.key = key;
    group.element.replaceChildren(...legendItems(list.length > 1 ? list : [], crossed), ...(axes ? [html("span", { class: "legend-item" }, axes)] : []));
  }
}

/** In two columns, what stands alone in its row takes the whole of it, as does what is wide. Returns the rows. */
function spread(content: HTMLElement[]): number {
  let rows = 0;
  let open: HTMLElement | undefined; // the panel on the left of an unfinished row
  for (const element of content) {
    if (element.dataset["whole"] !== undefined) {
      if (open) open.dataset["whole"] = "";
      open = undefined;
      rows += 1;
    } else {
      rows += open ? 0 : 1;
      open = open ? undefined : element;
    }
  }
  if (open) open.dataset["whole"] = "";
  return rows;
}

// A figure's panels: made where their kind is new, moved where it is not, and small multiples gathered in one grid.
import { html, set } from "../dom";
import type { Mark, Panel, Plot } from "../scene";
import type { Around, View } from "./drawing";
import { HeatView } from "./heat";
import { entries, keyOf, legendItems } from "./labels";
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

const small = (panel: Panel): panel is Plot => panel.kind === "plot" && panel.small;

export class Panels {
  readonly element = html("div", { "data-part": "panels", class: "panels" });
  private views: View[] = [];
  private shown: Panel[] = [];
  private layout = "";
  private groupLegends: { element: HTMLElement; key: string; from: number; to: number }[] = [];

  constructor(private readonly around: Around) {}

  update(panels: Panel[]): void {
    const layout = panels.map((panel) => `${panel.kind}${small(panel) ? "s" : ""}`).join();
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
      const element = set((this.views[at] as View).element, { "data-panel": at });
      if (!small(panel)) {
        group = undefined;
        content.push(element);
        return;
      }
      if (!group) {
        const legend = html("div", { class: "legend" });
        group = html("div", { class: "multiples" });
        this.groupLegends.push({ element: legend, key: "", from: at, to: at });
        content.push(html("div", { class: "multiples-box" }, legend, group));
      }
      (this.groupLegends[this.groupLegends.length - 1] as { to: number }).to = at;
      group.append(element);
    });
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
    const key = keyOf(list);
    if (key === group.key) return;
    group.key = key;
    group.element.replaceChildren(...(list.length > 1 ? legendItems(list, false) : []));
  }
}

// Panels that are HTML: pictures, large numbers, tables.
import { button, children, html, set, worded, write } from "../dom";
import type { Images, Numbers, Panel, Table, Tile } from "../scene";
import { short } from "../text";
import { showPress, type Around, type View } from "./drawing";

export class ImagesView implements View {
  readonly element = html("figure", { class: "panel images" });
  private readonly heading = html("figcaption", { class: "panel-title" });
  private readonly presser = button("", { class: "press", hidden: true }, () => this.press());
  private readonly tiles = html("div", { class: "tiles" });
  private panel: Images | undefined;
  private drawn: Tile[] = [];

  constructor(private readonly around: Around) {
    this.element.append(this.heading, this.presser, this.tiles);
    this.tiles.addEventListener("click", () => this.press());
  }

  private press(): void {
    if (this.panel?.press) this.around.press(this.panel.press);
  }

  update(panel: Panel): void {
    const images = panel as Images;
    this.panel = images;
    write(this.heading, images.title);
    this.heading.hidden = images.title === "";
    showPress(this.presser, images.press);
    set(this.tiles, { "data-press": images.press?.control });
    this.tiles.style.setProperty("--tile", `${images.size}px`);
    const tiles = children(this.tiles, images.tiles.length, () => html("div", { class: "tile" }, html("canvas", { role: "img" }), html("span")));
    images.tiles.forEach((tile, at) => {
      if (this.drawn[at] === tile) return;
      const element = tiles[at] as HTMLElement;
      const [canvas, caption] = Array.from(element.children) as [HTMLCanvasElement, HTMLElement];
      set(element, { class: tile.chosen ? "tile chosen" : "tile", "data-tile": at });
      set(canvas, { "aria-label": tile.caption || `picture ${at + 1}` });
      write(caption, tile.caption);
      paint(canvas, tile);
    });
    this.drawn = images.tiles;
  }

  close(): void {}
}

function paint(canvas: HTMLCanvasElement, tile: Tile): void {
  if (canvas.width !== tile.width) canvas.width = tile.width;
  if (canvas.height !== tile.height) canvas.height = tile.height;
  const bytes = Uint8Array.from(atob(tile.pixels), (letter) => letter.charCodeAt(0));
  const image = new ImageData(tile.width, tile.height);
  for (let at = 0; at < tile.width * tile.height; at += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      image.data[4 * at + channel] = bytes[at * tile.channels + (tile.channels === 3 ? channel : 0)] ?? 0;
    }
    image.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d")?.putImageData(image, 0, 0);
}

export class NumbersView implements View {
  readonly element = html("figure", { class: "panel numbers" });
  private readonly heading = html("figcaption", { class: "panel-title" });
  private readonly list = html("dl", { class: "large-numbers" });

  constructor() {
    this.element.append(this.heading, this.list);
  }

  update(panel: Panel): void {
    const { title, items } = panel as Numbers;
    write(this.heading, title);
    this.heading.hidden = title === "";
    const rows = children(this.list, items.length, () => html("div", {}, html("dt"), html("dd", { class: "large" }), html("dd", { class: "note" })));
    items.forEach(([label, text, note], at) => {
      const [name, value, aside] = Array.from((rows[at] as Element).children) as [Element, Element, HTMLElement];
      write(name, label);
      write(value, text);
      write(aside, note);
      aside.hidden = note === "";
    });
  }

  close(): void {}
}

const FIRST_ROWS = 100;

export class TableView implements View {
  readonly element = html("figure", { class: "panel table" });
  private readonly heading = html("figcaption", { class: "panel-title" });
  private readonly box = html("div", { class: "table-box" });
  private readonly more = html("button", { type: "button", class: "quiet", hidden: true });
  private all = false;
  private panel: Table | undefined;

  constructor() {
    this.element.append(this.heading, this.box, this.more);
    this.more.addEventListener("click", () => {
      this.all = true;
      if (this.panel) this.update(this.panel);
    });
  }

  update(panel: Panel): void {
    const table = panel as Table;
    this.panel = table;
    write(this.heading, table.title);
    this.heading.hidden = table.title === "";
    const rows = this.all ? table.rows : table.rows.slice(0, FIRST_ROWS);
    this.more.hidden = rows.length === table.rows.length;
    write(this.more, `Show all ${table.rows.length} rows`);
    const numeric = table.columns.map((_, at) => table.rows.every((row) => typeof row[at] !== "string" || row[at] === ""));
    const long = table.columns.map((_, at) => !numeric[at] && table.rows.some((row) => String(row[at] ?? "").length > 28));
    const kind = (at: number): string | null => (numeric[at] ? "number" : long[at] ? "long" : null);
    const head = html("tr", {}, ...table.columns.map((name, at) => html("th", { scope: "col", class: kind(at) }, name)));
    const body = html("tbody");
    rows.forEach((row, nth) => {
      const line = html("tr");
      row.forEach((cell, at) => {
        const text = typeof cell === "string" ? cell : cell === null ? "not a number" : short(cell);
        const link = at === 0 && table.links[nth] ? safe(table.links[nth] as string) : "";
        line.append(html("td", { class: kind(at) }, link ? html("a", { href: link }, text) : typeof cell === "string" ? html("span", {}, ...worded(text)) : text));
      });
      body.append(line);
    });
    const drawn = html("table", {}, html("thead", {}, head), body);
    set(this.box, { tabindex: 0, role: "region", "aria-label": table.title || "Table" });
    this.box.replaceChildren(drawn);
  }

  close(): void {}
}

/** Only addresses within the lab or fragments of the page; anything else is no link. */
export const safe = (address: string): string => (/^(\/(?!\/)|#)/.test(address) && !/[\s\\]/.test(address) ? address : "");

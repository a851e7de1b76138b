// Under a figure: its numbers as a table, its code, its exports, its link. Closed until asked for.
import { button, html, set } from "../dom";
import { csvOf, pictureOf, pngOf, save, svgText } from "../export";
import type { FrameMessage } from "../scene";
import { TableView } from "../panels/plain";
import { flash } from "./controls";
import { python } from "./python";

export interface Shown {
  id: string;
  title: string;
  card: HTMLElement;
  frame(): FrameMessage | undefined;
  state(): object;
  /** The page's address with this figure's state in it, if it has one. */
  link: (() => string) | undefined;
  /** Where one HTML file of the figure is made, if it is. */
  exportAddress: (() => string) | undefined;
  /** The figure's own page, if there is one. */
  large: (() => string) | undefined;
}

let count = 0;

export class Tools {
  readonly element = html("div", { class: "tools" });
  private readonly row = html("div", { class: "tool-row" });
  private readonly table = new TableView();
  private readonly code = html("code");
  private readonly folds: { name: string; button: HTMLButtonElement; body: HTMLElement }[] = [];
  private drawn: { table?: unknown; code?: unknown } = {};

  constructor(private readonly shown: Shown) {
    this.element.append(this.row);
    this.fold("table", "Table", this.table.element);
    const script = html("pre", { tabindex: 0, role: "region", "aria-label": "Python code" }, this.code);
    const copy = button("Copy", { class: "quiet copy" }, () => void copyText(shown.frame()?.code ?? "", copy));
    this.fold("code", "Code", html("div", { class: "code-box" }, copy, script));
    this.fold("export", "Export", this.exports());
    if (shown.link) {
      const link = shown.link;
      const own = button("Copy link", { class: "quiet", "data-copy": "link" }, () => void copyText(link(), own));
      this.row.append(own);
    }
    if (shown.large) {
      const large = shown.large;
      const anchor = html("a", { class: "quiet", href: `/f/${shown.id}` }, "Larger");
      for (const event of ["pointerdown", "focus"]) anchor.addEventListener(event, () => set(anchor, { href: large() }));
      this.row.append(anchor);
    }
  }

  private fold(name: string, label: string, content: HTMLElement): void {
    const id = `poise-fold-${(count += 1)}`;
    const body = html("div", { id, class: "fold", "data-part": name, hidden: true }, content);
    const own = button(label, { class: "quiet fold-button", "aria-expanded": "false", "aria-controls": id }, () => {
      body.hidden = !body.hidden;
      set(own, { "aria-expanded": String(!body.hidden) });
      this.update();
    });
    this.folds.push({ name, button: own, body });
    this.row.append(own);
    this.element.append(body);
  }

  private open(name: string): boolean {
    return this.folds.some((fold) => fold.name === name && !fold.body.hidden);
  }

  /** Brings what is open up to date; what is closed costs nothing. */
  update(): void {
    const frame = this.shown.frame();
    if (!frame) return;
    if (this.open("table") && this.drawn.table !== frame.table) {
      this.drawn.table = frame.table;
      this.table.update({ ...frame.table, title: frame.table.title || `Numbers behind “${this.shown.title}”` });
    }
    if (this.open("code") && this.drawn.code !== frame.code) {
      this.drawn.code = frame.code;
      this.code.replaceChildren(...python(frame.code));
    }
  }

  private exports(): HTMLElement {
    const { shown } = this;
    const picture = (): SVGSVGElement => pictureOf(shown.card, shown.title, shown.frame()?.sentence ?? "");
    const one = (label: string, name: string, act: () => void): HTMLElement => button(label, { class: "quiet", "data-export": name }, act);
    const row = html(
      "div",
      { class: "export-row" },
      one("SVG", "svg", () => save(`${shown.id}.svg`, new Blob([svgText(picture())], { type: "image/svg+xml" }))),
      one("PNG", "png", () => void pngOf(picture(), shown.card).then((blob) => blob && save(`${shown.id}.png`, blob))),
      one("CSV", "csv", () => {
        const frame = shown.frame();
        if (frame) save(`${shown.id}.csv`, new Blob([csvOf(frame.table)], { type: "text/csv" }));
      }),
      one("JSON", "json", () => {
        const text = JSON.stringify({ figure: shown.id, state: shown.state(), frame: shown.frame() }, null, 1);
        save(`${shown.id}.json`, new Blob([text], { type: "application/json" }));
      }),
    );
    if (shown.exportAddress) {
      const address = shown.exportAddress;
      const words = html("span", { class: "export-words", role: "status" });
      row.append(
        one("One HTML file", "html", () => void fetched(address(), `${shown.id}.html`, words)),
        words,
      );
    }
    return row;
  }
}

/** Saves what an address answers; says in words how it goes. */
async function fetched(address: string, name: string, words: HTMLElement): Promise<void> {
  words.textContent = "Computing every frame of the file…";
  try {
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok || !answer.headers.get("content-disposition")) throw new Error(String(answer.status));
    save(name, await answer.blob());
    words.textContent = "Saved.";
  } catch (error) {
    words.textContent = `The file could not be made (${String(error)}).`;
  }
}

async function copyText(text: string, from: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    flash(from, "Copied");
  } catch {
    const area = html("textarea", { class: "unseen" });
    area.value = text;
    from.after(area);
    area.select();
    flash(from, document.execCommand("copy") ? "Copied" : "Copying is not allowed here");
    area.remove();
    from.focus();
  }
}

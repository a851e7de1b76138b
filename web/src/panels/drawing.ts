// What the drawn panels share: a title, an SVG as wide as its place, a press, and values under pointer and keys.
import { button, html, set, svg, write } from "../dom";
import type { Panel, Press, Role } from "../scene";

/** What a panel knows of the figure around it. */
export interface Around {
  /** Size of the smallest text, in CSS pixels. */
  font(): number;
  /** How high a lone panel may be drawn, in CSS pixels; 0 for its own height. */
  reach(): number;
  press(press: Press): void;
  /** Reads words out, politely. */
  say(words: string): void;
  /** The id of the element that describes the figure in words. */
  described: string;
  /** The figure's claim, for panels without a title. */
  title: string;
}

export interface View {
  element: HTMLElement;
  update(panel: Panel): void;
  close(): void;
}

export interface Reading {
  label: string;
  text: string;
  role: Role;
}

/** A place that pointer or keys can stop at: where the line stands, and what is read there. */
export interface Stop {
  x: number;
  y: number;
  head: string;
  readings: Reading[];
}

/** A press has a button with its name too: that a drawing can be clicked is seen by none and heard by none. */
export function showPress(presser: HTMLButtonElement, press: Press | null | undefined): void {
  presser.hidden = !press;
  write(presser, press?.label ?? "");
}

export abstract class Drawing<P extends Panel & { title: string; press?: Press | null }> implements View {
  readonly element = html("figure", { class: "panel" });
  protected readonly heading = html("figcaption", { class: "panel-title" });
  protected readonly legend = html("div", { class: "legend" });
  private readonly presser = button("", { class: "press", hidden: true }, () => this.pressed());
  protected readonly box = html("div", { class: "drawing" });
  protected readonly svg = svg("svg", { "aria-hidden": "true", focusable: "false" });
  private readonly tip = html("div", { class: "tip", hidden: true });
  private readonly watcher: ResizeObserver;
  protected panel: P | undefined;
  protected width = 0;
  private stopped: number | undefined; // of the keys

  constructor(protected readonly around: Around) {
    this.box.append(this.svg, this.tip);
    this.element.append(this.heading, this.presser, this.legend, this.box);
    this.watcher = new ResizeObserver((entries) => {
      const width = Math.floor(entries[entries.length - 1]?.contentRect.width ?? 0);
      if (width > 0 && width !== this.width) {
        this.width = width;
        this.redraw();
      }
    });
    this.watcher.observe(this.box);
    this.box.addEventListener("pointermove", (event) => this.point(event));
    this.box.addEventListener("pointerleave", () => this.hide());
    this.box.addEventListener("blur", () => this.hide());
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("click", () => this.pressed());
  }

  update(panel: Panel): void {
    const own = panel as unknown as P;
    this.panel = own;
    write(this.heading, own.title);
    this.heading.hidden = own.title === "";
    showPress(this.presser, own.press);
    set(this.box, {
      role: "img",
      tabindex: own.press || this.reads() ? 0 : null,
      "aria-label": own.title || this.around.title,
      "aria-describedby": this.around.described,
      "data-press": own.press?.control,
    });
    this.redraw();
  }

  close(): void {
    this.watcher.disconnect();
  }

  private redraw(): void {
    if (!this.panel || this.width === 0) return;
    this.draw(this.panel, this.width);
    if (this.stopped === undefined) this.hide();
  }

  /** Draws the panel `width` CSS pixels wide, moving what is there already. */
  protected abstract draw(panel: P, width: number): void;

  /** Whether arrow keys read values. */
  protected reads(): boolean {
    return true;
  }

  /** The stop nearest to a pixel, if one is near. */
  protected abstract near(x: number, y: number): Stop | undefined;

  /** The stops that the arrow keys walk along. */
  protected abstract walk(): Stop[];

  /** Marks a stop in the drawing, or takes the mark away. */
  protected mark(_stop: Stop | undefined): void {}

  protected size(width: number, height: number): void {
    set(this.svg, { width, height, viewBox: `0 0 ${width} ${height}` });
  }

  private pressed(): void {
    if (this.panel?.press) this.around.press(this.panel.press);
  }

  private key(event: KeyboardEvent): void {
    if ((event.key === "Enter" || event.key === " ") && this.panel?.press) {
      event.preventDefault();
      if (!event.repeat) this.pressed();
      return;
    }
    const steps: Record<string, number> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -1e9, End: 1e9 };
    const step = steps[event.key];
    if (event.key === "Escape" && this.stopped !== undefined) this.hide();
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey || !this.reads()) return;
    const stops = this.walk();
    if (stops.length === 0) return;
    event.preventDefault();
    event.stopPropagation();
    const from = this.stopped ?? (step > 0 ? -1 : stops.length);
    this.stopped = Math.max(0, Math.min(stops.length - 1, from + step));
    const stop = stops[this.stopped] as Stop;
    this.show(stop);
    this.around.say([stop.head, ...stop.readings.map(({ label, text }) => `${label} ${text}`)].filter(Boolean).join(", "));
  }

  private point(event: PointerEvent): void {
    const place = this.svg.getBoundingClientRect();
    const stop = this.near(event.clientX - place.left, event.clientY - place.top);
    this.stopped = undefined;
    if (stop) this.show(stop);
    else this.hide();
  }

  private hide(): void {
    this.stopped = undefined;
    if (this.tip.hidden) return;
    this.tip.hidden = true;
    this.mark(undefined);
  }

  private show(stop: Stop): void {
    const rows = stop.readings.map(({ label, text, role }) =>
      html("div", { class: `tip-row role-${role}` }, html("i"), html("span", {}, label), html("b", {}, text)),
    );
    this.tip.replaceChildren(html("div", { class: "tip-head" }, stop.head), ...rows);
    this.tip.hidden = false;
    this.mark(stop);
    const { offsetWidth: wide, offsetHeight: high } = this.tip;
    const right = stop.x + 14 + wide <= this.width;
    this.tip.style.left = `${Math.max(0, right ? stop.x + 14 : stop.x - 14 - wide)}px`;
    this.tip.style.top = `${Math.max(0, stop.y - high - 10)}px`;
  }
}

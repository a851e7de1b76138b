// The presenter's mode: one figure a screen, in large type; arrow keys step through its presets, then to the next.
import type { Card } from "./card/card";
import { button, html, set, write } from "./dom";
import { startOf } from "./host";

export class Presenter {
  private readonly bar: HTMLElement;
  private readonly where = html("span", { class: "where", role: "status" });
  private at = 0;
  private step = 0; // 0 is the figure at rest, then its presets

  constructor(
    private readonly elements: HTMLElement[],
    private readonly mount: (element: HTMLElement) => Card,
    place: string,
  ) {
    document.body.classList.add("presenting");
    const full = button("Full screen", { class: "quiet", "data-present": "full" }, () => this.full());
    this.bar = html(
      "footer",
      { class: "present-bar" },
      button("← Back", { class: "quiet", "data-present": "back" }, () => this.move(-1)),
      this.where,
      button("Next →", { class: "main", "data-present": "next" }, () => this.move(1)),
      full,
      html("a", { class: "quiet", href: "/" }, "Leave"),
    );
    document.body.append(this.bar);
    document.addEventListener("keydown", (event) => this.key(event));
    this.go(place);
  }

  /** Shows the figure with this id, or the first. */
  go(place: string): void {
    const at = this.elements.findIndex(({ id }) => id === place);
    this.show(Math.max(0, at), 0, false);
  }

  private show(at: number, step: number, set: boolean): void {
    this.at = at;
    this.step = step;
    const element = this.elements[at];
    if (!element) return;
    for (const other of this.elements) other.hidden = other !== element;
    for (const section of document.querySelectorAll<HTMLElement>("main section")) section.hidden = !section.contains(element);
    const card = this.mount(element);
    const preset = card.spec.presets[step - 1];
    if (set) card.jump({ ...startOf(card.spec), ...preset?.state });
    const stand = step === 0 ? "" : ` · ${preset?.label ?? ""}`;
    write(this.where, `${at + 1} of ${this.elements.length}${stand}`);
    this.ahead();
  }

  /** Mounts the next figure beforehand, so that it stands when it is called. */
  private ahead(): void {
    const next = this.elements[this.at + 1];
    if (next) setTimeout(() => this.mount(next), 600);
  }

  private move(by: number): void {
    const count = this.mount(this.elements[this.at] as HTMLElement).spec.presets.length;
    const step = this.step + by;
    if (step >= 0 && step <= count) return this.show(this.at, step, true);
    const at = this.at + by;
    if (at < 0 || at >= this.elements.length) return;
    const before = this.mount(this.elements[at] as HTMLElement);
    this.show(at, by > 0 ? 0 : before.spec.presets.length, true);
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    const busy = target.closest?.("input, select, textarea, [data-part=panels] [tabindex], pre, .table-box");
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1, PageDown: 1, PageUp: -1 };
    const by = moves[event.key];
    if (by !== undefined && !(busy && event.key.startsWith("Arrow"))) {
      event.preventDefault();
      this.move(by);
    } else if (event.key === "f" && !busy) this.full();
    else if (event.key === "Home" && !busy) this.show(0, 0, true);
    else if (event.key === "Escape" && busy) target.blur();
  }

  private full(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void document.documentElement.requestFullscreen();
    set(this.bar, { "data-full": document.fullscreenElement ? null : "true" });
  }
}

// One figure: its claim, its picture, what it says in words and numbers, and what moves it.
import { button, html, later, oncePerFrame, set, worded, write } from "../dom";
import { gridValue, legal } from "../hash";
import { startOf, type Action, type ControlSpec, type FigureSpec, type Host, type HostEvent, type State, type Value } from "../host";
import { Latest } from "../latest";
import { Panels } from "../panels/panels";
import type { FrameMessage, Press } from "../scene";
import { controlOf, type Control } from "./controls";
import { PlayBar } from "./play";
import { Tools } from "./tools";
import { Tries } from "./tries";

export interface Setting {
  host: Host;
  key: string;
  of: string[];
  state: State;
  heading: string; // the heading's tag
  present: boolean;
  /** Told after every change of the state; a jump (preset, link, undo) is one to go back over. */
  changed(state: State, jump: boolean): void;
  /** Told when a run starts, so that others pause. */
  started?(): void;
  link?(): string;
  large?(): string;
}

const GESTURE = 700; // ms: changes closer together are one gesture, undone at once
const SPEECH = 900; // ms of rest until the sentence is read out
const SLOW = 350; // ms until a computation is called slow

export class Card {
  private readonly panels: Panels;
  private readonly controls = new Map<string, Control>();
  private readonly sentence = html("p", { "data-part": "sentence", class: "sentence" });
  private readonly spoken = html("p", { role: "status", "aria-live": "polite", class: "unseen" });
  private readonly numbers = html("dl", { "data-part": "numbers", class: "readings" });
  private readonly notice = html("p", { "data-part": "notice", class: "notice", role: "alert", hidden: true });
  private readonly undoButton = button("Undo", { class: "quiet", "data-undo": true, disabled: true }, () => this.undo());
  private readonly resetButton = button("Reset", { class: "quiet", "data-reset": true }, () => this.jump(startOf(this.spec)));
  private readonly presets: { button: HTMLButtonElement; state: State }[] = [];
  private readonly tools: Tools;
  private readonly tries: Tries;
  private readonly play: PlayBar | undefined;
  private readonly latest: Latest<State>;
  private readonly past: State[] = [];
  private state: State;
  private frame: FrameMessage | undefined;
  private error = "";
  private grid: Record<string, Value[]> = {}; // of a stored file: the values that it has
  private applied = 0;
  private changedAt = -Infinity;
  private slow = 0;
  private readonly render = oncePerFrame(() => this.draw());
  private readonly speak = later(() => write(this.spoken, this.frame?.sentence ?? ""), SPEECH);

  constructor(
    readonly element: HTMLElement,
    readonly spec: FigureSpec,
    private readonly setting: Setting,
  ) {
    this.state = { ...setting.state };
    this.sentence.id = `poise-sentence-${setting.key}`;
    this.latest = new Latest((id, state) => {
      clearTimeout(this.slow);
      this.slow = window.setTimeout(() => set(this.element, { "data-busy": "true" }), SLOW);
      setting.host.set(setting.key, id, state);
    });
    this.panels = new Panels({
      font: () => (setting.present ? 19 : 13),
      reach: () => (setting.present ? Math.max(240, (window.innerHeight - 560) / this.panels.rows) : 0),
      press: (press) => this.press(press),
      say: (words) => write(this.spoken, words),
      described: this.sentence.id,
      title: spec.title,
    });
    this.play = spec.streams ? new PlayBar((action) => this.act(action)) : undefined;
    this.tries = new Tries(spec.tries, () => this.firstControl()?.focus());
    const address = setting.host.exportAddress?.bind(setting.host);
    this.tools = new Tools({
      id: spec.id,
      title: spec.title,
      card: element,
      frame: () => this.frame,
      state: () => this.state,
      link: setting.link,
      exportAddress: address && (() => address(spec.id, setting.of, this.state)),
      large: setting.large,
    });
    this.build();
    this.showControls();
    setting.host.open(setting.key, spec.id, setting.of, this.state, (event) => this.receive(event));
  }

  get values(): State {
    return { ...this.state };
  }

  /** Whether the first frame is drawn. */
  get ready(): boolean {
    return this.element.dataset["ready"] === "true";
  }

  // ---- what changes the state ----

  /** Goes to a whole state, told by the address: nothing to undo, nothing to tell. */
  follow(state: State): void {
    this.to(state);
  }

  /** Goes to a whole state at once: a preset, a link, a reset. */
  jump(state: State): void {
    this.remember(true);
    this.to(state);
    this.setting.changed(this.state, true);
  }

  undo(): void {
    const before = this.past.pop();
    this.undoButton.disabled = this.past.length === 0;
    if (!before) return;
    this.to(before);
    this.setting.changed(this.state, false);
    this.changedAt = -Infinity;
  }

  pause(): void {
    if (this.play?.running) this.act("pause");
  }

  private set(name: string, value: Value): void {
    if (this.state[name] === value) return;
    this.remember(false);
    this.to({ ...this.state, [name]: value });
    this.setting.changed(this.state, false);
  }

  private to(state: State): void {
    this.state = this.stored(state);
    this.showControls();
    this.latest.ask(this.state);
  }

  /** The state that a stored file has in its place: controls never show a value that the picture is not of. */
  private stored(state: State): State {
    return Object.fromEntries(Object.entries(state).map(([name, value]) => [name, gridValue(this.grid[name], value, this.state[name])]));
  }

  private remember(jump: boolean): void {
    const now = performance.now();
    if (jump || now - this.changedAt > GESTURE) this.past.push(this.state);
    if (this.past.length > 100) this.past.shift();
    this.changedAt = now;
    this.undoButton.disabled = false;
  }

  private press({ control, step }: Press): void {
    const spec = this.spec.controls.find(({ name }) => name === control);
    const now = spec && this.state[spec.name];
    if (!spec || now === undefined) return;
    if (typeof now === "number") {
      const next = legal(spec, now + step);
      if (next !== undefined) this.set(control, next);
    } else if (spec.kind === "toggle") this.set(control, !now);
    else if (spec.kind === "choice") {
      const at = spec.options.findIndex(([value]) => value === now);
      const next = spec.options[(at + step + spec.options.length) % spec.options.length];
      if (next) this.set(control, next[0]);
    }
  }

  private act(action: Action): void {
    if (action === "play") this.setting.started?.();
    this.setting.host.act(this.setting.key, this.latest.next(), action);
  }

  // ---- what the host tells ----

  private receive(event: HostEvent): void {
    if ("grid" in event) {
      this.grid = event.grid;
      this.state = this.stored(this.state);
      this.showControls();
      return;
    }
    if ("frame" in event) {
      this.frame = event.frame;
      this.error = "";
    } else if ("error" in event) this.error = event.error;
    else this.play?.show(event.playing, event.done);
    this.applied = Math.max(this.applied, event.id);
    this.latest.answered(event.id);
    if (!this.latest.busy) {
      clearTimeout(this.slow);
      set(this.element, { "data-busy": null });
    }
    this.render();
  }

  /** The connection is lost or back; the host then opens the figure again, with its newest state. */
  connected(open: boolean): void {
    this.latest.connected(open);
    this.play?.show(false, false);
  }

  // ---- drawing ----

  private draw(): void {
    const { frame } = this;
    write(this.notice, this.error || frame?.notice || "");
    this.notice.hidden = this.notice.textContent === "";
    set(this.notice, { "data-kind": this.error ? "error" : null });
    if (frame) {
      this.panels.update(frame.panels);
      write(this.sentence, frame.sentence);
      this.tries.show(frame.sentence);
      this.showNumbers(frame);
      this.tools.update();
      if (this.ready) this.speak();
    }
    set(this.element, { "data-id": this.applied });
    // Drawings learn their width after the first layout, and are drawn within that frame: ready is what was painted.
    const first = (frame || this.error) && !this.ready;
    if (first) requestAnimationFrame(() => setTimeout(() => set(this.element, { "data-ready": "true" })));
  }

  private showNumbers({ numbers }: FrameMessage): void {
    while (this.numbers.childElementCount > numbers.length) this.numbers.lastElementChild?.remove();
    numbers.forEach(({ label, value, text, role }, at) => {
      const row = this.numbers.children[at] ?? this.numbers.appendChild(html("div", {}, html("dt"), html("dd")));
      const [name, reading] = Array.from(row.children) as [Element, Element];
      set(row, { class: `reading role-${role}` });
      write(name, label);
      set(reading, { "data-number": label, "data-value": value === null ? "nan" : String(value) });
      write(reading, text);
    });
  }

  private showControls(): void {
    for (const [name, control] of this.controls) control.show(this.state[name] as Value);
    const start = startOf(this.spec);
    const same = (state: State): boolean => this.spec.controls.every(({ name }) => state[name] === this.state[name]);
    for (const preset of this.presets) set(preset.button, { "aria-pressed": String(same(preset.state)) });
    this.resetButton.disabled = same(start);
  }

  private firstControl(): HTMLElement | null {
    return this.element.querySelector<HTMLElement>("[data-part=controls] :is(input, select, button):not(:disabled)");
  }

  private build(): void {
    const { spec } = this;
    const start = startOf(spec);
    const bar = html("div", { "data-part": "presets", class: "presets", role: "group", "aria-label": "Presets" });
    for (const { label, state } of spec.presets) {
      const whole = { ...start, ...state };
      const own = button(label, { class: "preset", "data-preset": label }, () => this.jump(whole));
      this.presets.push({ button: own, state: whole });
      bar.append(own);
    }
    const group = html("div", { "data-part": "controls", class: "controls", role: "group", "aria-label": "Controls" });
    for (const control of spec.controls) group.append(this.control(control));
    const back = spec.controls.length ? html("div", { class: "back" }, this.undoButton, this.resetButton) : null;
    const side = html("div", { class: "side" }, spec.presets.length ? bar : null, group, this.play?.element, back);
    const title = set(document.createElement(this.setting.heading), { "data-part": "title", class: "card-title" });
    title.append(spec.title);
    const busy = html("p", { class: "busy", "aria-hidden": "true" }, "computing…");
    const head = html("header", { class: "card-head" }, title, spec.caption ? html("p", { class: "caption" }, ...worded(spec.caption)) : null);
    const picture = html("div", { class: "picture" }, this.notice, this.panels.element, busy, this.sentence, this.numbers);
    const body = html("div", { class: spec.controls.length || spec.streams ? "card-body" : "card-body alone" }, picture, side);
    this.element.replaceChildren(head, body, this.tries.element, this.tools.element, this.spoken);
    this.element.addEventListener("keydown", (event) => {
      const typing = event.target instanceof HTMLInputElement && event.target.type === "text";
      if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey || typing) return;
      event.preventDefault();
      this.undo();
    });
    set(this.element, { class: "poise-lab card", "data-figure": spec.id, role: "group", "aria-label": spec.title });
  }

  private control(spec: ControlSpec): HTMLElement {
    const control = controlOf(spec, (value) => this.set(spec.name, value));
    this.controls.set(spec.name, control);
    return control.element;
  }

  /** Draws again: the size of the screen's text or the presenter's mode has changed. */
  redraw(): void {
    this.panels.redraw();
  }

  close(): void {
    this.panels.close();
    this.setting.host.close(this.setting.key);
  }
}

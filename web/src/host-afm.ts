// The notebook's host: a model of anywidget whose traits Python watches. `render` is what anywidget calls.
import { Card } from "./card/card";
import { html } from "./dom";
import { startOf, type Action, type FigureSpec, type Host, type HostEvent, type State } from "./host";
import { apply, type Patch } from "./patch";
import type { FrameMessage } from "./scene";
import { followHost } from "./theme";

/** What the figure uses of anywidget's model. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  on(name: string, call: () => void): void;
  off(name: string, call: () => void): void;
  save_changes(): void;
}

interface Answer {
  id?: number;
  patch?: Patch;
  error?: string;
  playing?: boolean;
  done?: boolean;
}

/** Traits: `state` {id, values} and `action` {id, op} go to Python; `message` {id, patch | error | playing} comes back. */
export class ModelHost implements Host {
  private frame: FrameMessage | undefined;
  private hear: (() => void) | undefined;

  constructor(private readonly model: Model) {}

  open(_key: string, _figure: string, _of: string[], state: State, on: (event: HostEvent) => void): void {
    this.hear = () => {
      const answer = this.model.get("message") as Answer | null;
      if (!answer || Object.keys(answer).length === 0) return;
      const id = answer.id ?? 0;
      if (answer.error !== undefined) on({ error: answer.error, id });
      if (answer.patch) {
        this.frame = apply(this.frame, answer.patch) as FrameMessage;
        on({ frame: this.frame, id });
      }
      if (answer.playing !== undefined) on({ playing: answer.playing, done: answer.done ?? false, id });
    };
    this.model.on("change:message", this.hear);
    this.act("", 0, "open"); // Python answers with the whole frame
    void state;
  }

  set(_key: string, id: number, state: State): void {
    this.model.set("state", { id, values: state });
    this.model.save_changes();
  }

  act(_key: string, id: number, action: Action | "open"): void {
    this.model.set("action", { id, op: action, nonce: Math.random() }); // the same action twice is two changes
    this.model.save_changes();
  }

  close(): void {
    if (this.hear) this.model.off("change:message", this.hear);
  }
}

/** Draws a figure into a notebook's cell. Returns what takes it away. */
export function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const spec = model.get("spec") as FigureSpec;
  const kept = model.get("state") as { values?: State } | null;
  const root = html("div", { class: "poise-widget poise-lab" });
  const place = html("div");
  root.append(place);
  el.append(root);
  // A notebook has shortcuts of its own: without this JupyterLab takes the arrow keys away from the sliders.
  root.addEventListener("keydown", (event) => event.stopPropagation());
  const unfollow = followHost(root);
  const card = new Card(place, spec, {
    host: new ModelHost(model),
    key: "widget",
    of: (model.get("of") as string[] | null) ?? [],
    state: { ...startOf(spec), ...kept?.values },
    heading: "h3",
    present: false,
    changed: () => undefined,
  });
  return () => {
    card.close();
    unfollow();
    root.remove();
  };
}

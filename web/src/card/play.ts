// Play, pause, step and reset of a run that trains while one looks.
import { button, html, set } from "../dom";
import type { Action } from "../host";

const ICONS: Record<Action, string> = { play: "▶", pause: "❚❚", step: "▶❙", reset: "↺" };
const WORDS: Record<Action, string> = { play: "Play", pause: "Pause", step: "Step", reset: "From the start" };

export class PlayBar {
  readonly element = html("div", { class: "play-bar", role: "group", "aria-label": "Run" });
  running = false;
  private readonly buttons = new Map<Action, HTMLButtonElement>();

  constructor(act: (action: Action) => void) {
    for (const action of ["play", "pause", "step", "reset"] as const) {
      const own = button("", { class: action === "play" || action === "pause" ? "main" : "quiet", "data-action": action }, () => act(action));
      own.append(html("span", { class: "icon", "aria-hidden": "true" }, ICONS[action]), WORDS[action]);
      this.buttons.set(action, own);
      this.element.append(own);
    }
    // Who asked for less motion steps: that is then the button that stands out.
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (calm) {
      set(this.buttons.get("step") as Element, { class: "main" });
      set(this.buttons.get("play") as Element, { class: "quiet" });
    }
    this.show(false, false);
  }

  show(playing: boolean, done: boolean): void {
    const held = document.activeElement === this.buttons.get("play") || document.activeElement === this.buttons.get("pause");
    this.running = playing;
    const [play, pause] = [this.buttons.get("play") as HTMLButtonElement, this.buttons.get("pause") as HTMLButtonElement];
    play.hidden = playing;
    pause.hidden = !playing;
    if (held) (playing ? pause : play).focus();
    set(this.element, { "data-playing": String(playing), "data-done": String(done) });
  }
}

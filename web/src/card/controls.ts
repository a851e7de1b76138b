// The controls of a figure: native inputs with a name, a value box, and keyboard as browsers give it.
import { button, html, later, set, write } from "../dom";
import { legal, nearest } from "../hash";
import type { ChoiceSpec, ControlSpec, RangeSpec, SeedSpec, ToggleSpec, Value } from "../host";
import { valueText } from "../text";

export interface Control {
  element: HTMLElement;
  /** Shows a value that was set elsewhere. */
  show(value: Value): void;
}

type On = (value: Value) => void;

/** Positions of a slider and the values at them. */
export class Positions {
  readonly count: number;

  constructor(private readonly spec: RangeSpec) {
    const inner = spec.log ? Math.round(Math.log10(spec.high / spec.low) * spec.step) + 1 : Math.round((spec.high - spec.low) / spec.step) + 1;
    this.count = spec.values?.length ?? inner + (spec.zero ? 1 : 0);
  }

  value(position: number): number {
    const { low, high, log, zero, whole, step, values } = this.spec;
    if (values) return values[Math.max(0, Math.min(values.length - 1, position))] as number;
    if (zero && position === 0) return 0;
    const at = position - (zero ? 1 : 0);
    const last = this.count - 1 - (zero ? 1 : 0);
    if (at >= last) return high;
    const raw = log ? low * (high / low) ** (at / last) : low + at * step;
    const tidy = Number(raw.toPrecision(log ? 6 : 12));
    return whole ? Math.round(tidy) : Math.min(high, Math.max(low, tidy));
  }

  position(value: number): number {
    const { low, high, log, zero, step, values } = this.spec;
    if (values) return values.indexOf(nearest(values, value));
    if (zero && value < low) return value > low / 2 && !log ? 1 : 0;
    const last = this.count - 1 - (zero ? 1 : 0);
    const share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (step * last);
    return Math.max(0, Math.min(last, Math.round(share * last))) + (zero ? 1 : 0);
  }
}

let count = 0; // of ids on the page

function labelled(id: string, label: string, help: string): { label: HTMLLabelElement; help: HTMLElement | null; described: string | null } {
  const words = help ? html("p", { class: "control-help", id: `${id}-help` }, help) : null;
  return { label: html("label", { for: id, class: "control-label" }, label), help: words, described: words ? words.id : null };
}

function rangeControl(spec: RangeSpec, on: On): Control {
  const id = `poise-control-${(count += 1)}`;
  const places = new Positions(spec);
  const direct = !spec.log && !spec.zero && !spec.values; // the slider's own numbers are the values
  const { label, help, described } = labelled(id, spec.label, spec.help);
  const slider = html("input", {
    type: "range",
    id,
    "data-control": spec.name,
    min: direct ? spec.low : 0,
    max: direct ? spec.high : places.count - 1,
    step: direct ? spec.step : 1,
    "aria-describedby": described,
  });
  const box = html("input", {
    type: "text",
    inputmode: "decimal",
    autocomplete: "off",
    spellcheck: "false",
    class: "box",
    "data-box": spec.name,
    "aria-label": `${spec.label}, exact value`,
  });
  let now = spec.start;
  const show = (value: Value): void => {
    now = Number(value);
    const position = places.position(now);
    slider.value = direct ? String(now) : String(position);
    set(slider, { "data-value": now, "aria-valuetext": valueText(now) });
    slider.style.setProperty("--share", String(position / Math.max(1, places.count - 1)));
    if (document.activeElement !== box) box.value = valueText(now);
    set(box, { "aria-invalid": null });
  };
  slider.addEventListener("input", () => {
    const position = direct ? places.position(Number(slider.value)) : Number(slider.value);
    const value = places.value(position);
    show(value);
    on(value);
  });
  const typed = (): void => {
    const text = box.value.trim().replace(/\u2212/g, "-").replace(",", ".");
    const value = text === "" ? undefined : legal(spec, Number(text));
    if (value === undefined) {
      set(box, { "aria-invalid": "true" });
      return;
    }
    if (value !== now && text !== valueText(now).replace(/\u2212/g, "-")) on(value);
    show(value === now || text !== valueText(now).replace(/\u2212/g, "-") ? value : now);
    box.value = valueText(now);
  };
  box.addEventListener("change", typed);
  box.addEventListener("blur", () => show(now));
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") typed();
    const step = event.key === "ArrowUp" ? 1 : event.key === "ArrowDown" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const value = places.value(Math.max(0, Math.min(places.count - 1, places.position(now) + step)));
    show(value);
    box.value = valueText(value);
    on(value);
  });
  const element = html("div", { class: "control range" }, html("div", { class: "control-head" }, label, box), slider, help);
  return { element, show };
}

function toggleControl(spec: ToggleSpec, on: On): Control {
  const id = `poise-control-${(count += 1)}`;
  const { label, help, described } = labelled(id, spec.label, spec.help);
  const input = html("input", { type: "checkbox", id, class: "switch", "data-control": spec.name, "aria-describedby": described });
  input.addEventListener("change", () => on(input.checked));
  const element = html("div", { class: "control toggle" }, html("div", { class: "control-head" }, input, label), help);
  return {
    element,
    show: (value) => {
      input.checked = value === true;
    },
  };
}

function choiceControl(spec: ChoiceSpec, on: On): Control {
  const id = `poise-control-${(count += 1)}`;
  const { label, help, described } = labelled(id, spec.label, spec.help);
  const options = spec.options.map(([value, text]) => html("option", { value }, text));
  const input = html("select", { id, "data-control": spec.name, "aria-describedby": described }, ...options);
  input.addEventListener("change", () => on(input.value));
  const element = html("div", { class: "control choice" }, html("div", { class: "control-head" }, label), html("div", { class: "select" }, input), help);
  return {
    element,
    show: (value) => {
      input.value = String(value);
    },
  };
}

function seedControl(spec: SeedSpec, on: On): Control {
  const id = `poise-control-${(count += 1)}`;
  const { label, help, described } = labelled(id, spec.label, spec.help);
  let now = spec.start;
  const box = html("input", { type: "text", inputmode: "numeric", autocomplete: "off", id, class: "box", "data-box": spec.name, "aria-describedby": described });
  const show = (value: Value): void => {
    now = Number(value);
    box.value = String(now);
    group.setAttribute("data-value", String(now));
    down.disabled = now === (spec.values?.[0] ?? 0);
    up.disabled = now === spec.values?.[spec.values.length - 1];
  };
  const go = (value: number): void => {
    const next = legal(spec, value);
    if (next === undefined) return show(now);
    show(next);
    on(next);
  };
  const down = button("\u2212", { class: "step", "data-step": "-1", "aria-label": `${spec.label}: previous` }, () => go(now - 1));
  const up = button("+", { class: "step", "data-step": "1", "aria-label": `${spec.label}: next` }, () => go(now + 1));
  const group = html("div", { class: "stepper", "data-control": spec.name }, down, box, up);
  box.addEventListener("change", () => go(Number(box.value || NaN)));
  box.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowUp" ? 1 : event.key === "ArrowDown" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    go(now + step);
  });
  return { element: html("div", { class: "control seed" }, html("div", { class: "control-head" }, label, group), help), show };
}

export function controlOf(spec: ControlSpec, on: On): Control {
  if (spec.kind === "range") return rangeControl(spec, on);
  if (spec.kind === "toggle") return toggleControl(spec, on);
  if (spec.kind === "choice") return choiceControl(spec, on);
  return seedControl(spec, on);
}

/** A line that appears for a moment: "copied". */
export function flash(element: HTMLElement, words: string): void {
  const before = element.dataset["words"] ?? element.textContent ?? "";
  element.dataset["words"] = before;
  write(element, words);
  later(() => write(element, before), 1400)();
}

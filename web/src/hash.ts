// The state of the page's figures in the address: #poly.degree=12&poly.l2=0.001, a place to go to first (#penalties&...).
import type { ControlSpec, FigureSpec, State, Value } from "./host";

export type Words = Record<string, Record<string, string>>; // by figure, by control

export interface Address {
  place: string;
  words: Words;
}

const TOKEN = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_]+)=(.*)$/;

const plain = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray percent sign
  }
};

export function parse(hash: string): Address {
  const words: Words = Object.create(null) as Words;
  let place = "";
  for (const token of hash.replace(/^#/, "").split("&")) {
    const found = TOKEN.exec(token);
    if (found) {
      const [, figure, control, value] = found as unknown as [string, string, string, string];
      (words[figure] ??= Object.create(null) as Record<string, string>)[control] = plain(value);
    } else if (token && !token.includes("=")) place = plain(token);
  }
  return { place, words };
}

/** A control's value from its words, or undefined where it is none. */
function value(control: ControlSpec, text: string): Value | undefined {
  if (control.kind === "toggle") return text === "true" || text === "1" ? true : text === "false" || text === "0" ? false : undefined;
  if (control.kind === "choice") return control.options.some(([option]) => option === text) ? text : undefined;
  const number = text.trim() === "" ? NaN : Number(text);
  return legal(control, number);
}

/** The one of the values that is nearest. */
export const nearest = (values: number[], number: number): number =>
  values.reduce((best, one) => (Math.abs(one - number) < Math.abs(best - number) ? one : best), values[0] as number);

/** A number that the control may take, the nearest one to `number`. */
export function legal(control: ControlSpec, number: number): number | undefined {
  if (!Number.isFinite(number)) return undefined;
  if ((control.kind === "range" || control.kind === "seed") && control.values) return nearest(control.values, number);
  if (control.kind === "seed") return Math.min(999_999, Math.max(0, Math.round(number)));
  if (control.kind !== "range") return undefined;
  if (control.zero && number <= 0) return 0;
  const within = Math.min(control.high, Math.max(control.low, number));
  return control.whole ? Math.round(within) : within;
}

/** The value of a grid nearest to `value`; moving on from `before`, at least the next one. */
export function gridValue(grid: Value[] | undefined, value: Value, before: Value | undefined): Value {
  if (!grid || grid.length === 0 || grid.includes(value) || typeof value !== "number") return value;
  const numbers = grid.map(Number);
  const away = (at: number): number => Math.abs((numbers[at] as number) - value);
  let best = 0;
  numbers.forEach((_, at) => {
    if (away(at) < away(best)) best = at;
  });
  if (grid[best] === before && typeof before === "number") best += Math.sign(value - before);
  return grid[Math.max(0, Math.min(grid.length - 1, best))] as Value;
}

/** The start of a figure with the given words in it. */
export function stateOf(spec: FigureSpec, words: Record<string, string> | undefined): State {
  const state: State = {};
  for (const control of spec.controls) {
    const text = words?.[control.name];
    state[control.name] = (text === undefined ? undefined : value(control, text)) ?? control.start;
  }
  return state;
}

/** What differs from the start, as it stands in an address. */
export function format(key: string, spec: FigureSpec, state: State): string[] {
  return spec.controls
    .filter((control) => state[control.name] !== control.start)
    .map((control) => `${key}.${control.name}=${encodeURIComponent(String(state[control.name]))}`);
}

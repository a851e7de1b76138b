// What computes the frames, seen from a figure: the page's server, a notebook's kernel or the frames stored in a file.
import type { FrameMessage } from "./scene";

export type Value = number | boolean | string;
export type State = Record<string, Value>;

export interface RangeSpec {
  kind: "range";
  name: string;
  label: string;
  low: number;
  high: number;
  start: number;
  step: number;
  log: boolean;
  zero: boolean;
  whole: boolean;
  help: string;
  export: number;
  values?: number[]; // the stored file only: these alone exist
}

export interface ToggleSpec {
  kind: "toggle";
  name: string;
  label: string;
  start: boolean;
  help: string;
}

export interface ChoiceSpec {
  kind: "choice";
  name: string;
  label: string;
  options: [string, string][];
  start: string;
  help: string;
}

export interface SeedSpec {
  kind: "seed";
  name: string;
  label: string;
  start: number;
  help: string;
  export: number;
  values?: number[]; // the stored file only
}

export type ControlSpec = RangeSpec | ToggleSpec | ChoiceSpec | SeedSpec;

export interface PresetSpec {
  label: string;
  state: State;
}

/** A figure as `Figure.spec` describes it. */
export interface FigureSpec {
  id: string;
  title: string;
  caption: string;
  tries: string[];
  controls: ControlSpec[];
  presets: PresetSpec[];
  streams: boolean;
}

export type Action = "play" | "pause" | "step" | "reset";

export type HostEvent =
  | { frame: FrameMessage; id: number }
  | { playing: boolean; done: boolean; id: number }
  | { error: string; id: number }
  | { grid: Record<string, Value[]> }; // the stored file only: the values that exist, by control

/** How the connection stands; `words` says to the reader what is wrong and what to do ("" when all is well). */
export interface Status {
  open: boolean;
  words: string;
}

/** One per page. `id` counts a figure's requests; an event carries the id of the newest request that it answers. */
export interface Host {
  open(key: string, figure: string, of: string[], state: State, on: (event: HostEvent) => void): void;
  set(key: string, id: number, state: State): void;
  act(key: string, id: number, action: Action): void;
  close(key: string): void;
  /** Tells every change of the connection; a host that has none leaves it out. */
  watch?(on: (status: Status) => void): void;
  /** Where "one HTML file" of a figure is made; a host that cannot leaves it out. */
  exportAddress?(figure: string, of: string[], state: State): string;
}

export const startOf = (spec: FigureSpec): State =>
  Object.fromEntries(spec.controls.map((control) => [control.name, control.start]));

// What a figure shows, as data: mirrors poise/lab/scene.py, record for record. A NaN of Python's arrives as null.

export type Role = "train" | "valid" | "truth" | "zero" | "plain";
export type Num = number | null;

export interface Axis {
  label: string;
  low: number | null;
  high: number | null;
  log: boolean;
  ticks: [number, string][];
}

export interface Line {
  kind: "line";
  label: string;
  x: Num[];
  y: Num[];
  role: Role;
  dashed: boolean;
  thin: boolean;
  closed: boolean;
}

export type Marker = "dot" | "ring" | "cross" | "square" | "diamond";

export interface Dots {
  kind: "dots";
  label: string;
  x: Num[];
  y: Num[];
  role: Role;
  marker: Marker;
}

export interface Band {
  kind: "band";
  label: string;
  x: Num[];
  low: Num[];
  high: Num[];
  role: Role;
}

export interface Rule {
  kind: "rule";
  label: string;
  x: number | null;
  y: number | null;
  role: Role;
  dashed: boolean;
}

export interface Bars {
  kind: "bars";
  label: string;
  at: number[];
  value: Num[];
  role: Role;
  base: number;
  width: number;
  crossed: boolean[];
  sideways: boolean;
}

export interface Intervals {
  kind: "intervals";
  label: string;
  at: number[];
  middle: Num[];
  low: Num[];
  high: Num[];
  points: Num[][];
  role: Role;
  sideways: boolean;
}

export interface Shape {
  kind: "shape";
  label: string;
  x: Num[];
  y: Num[];
  role: Role;
}

export interface Note {
  kind: "note";
  text: string;
  x: number;
  y: number;
  role: Role;
}

export type Mark = Line | Dots | Band | Rule | Bars | Intervals | Shape | Note;

export interface Press {
  control: string;
  label: string;
  step: number;
}

export interface Plot {
  kind: "plot";
  title: string;
  x: Axis;
  y: Axis;
  marks: Mark[];
  height: number;
  square: boolean;
  small: boolean;
  press: Press | null;
}

export interface Heat {
  kind: "heat";
  title: string;
  x: Axis;
  y: Axis;
  values: Num[][];
  label: string;
  low: number | null;
  high: number | null;
  signed: boolean;
  marked: [number, number][];
  texts: string[][];
  height: number;
  press: Press | null;
}

export interface Unit {
  dropped: boolean;
  value: number | null;
  text: string;
}

export interface Network {
  kind: "network";
  title: string;
  layers: Unit[][];
  names: string[];
  edges: Num[][][];
  height: number;
  press: Press | null;
}

export interface Tile {
  pixels: string;
  width: number;
  height: number;
  channels: number;
  caption: string;
  chosen: boolean;
}

export interface Images {
  kind: "images";
  title: string;
  tiles: Tile[];
  size: number;
  press: Press | null;
}

export interface Numbers {
  kind: "numbers";
  title: string;
  items: [string, string, string][];
}

export interface Parallel {
  kind: "parallel";
  title: string;
  axes: Axis[];
  values: Num[][];
  chosen: number[];
  height: number;
}

export interface Table {
  kind: "table";
  columns: string[];
  rows: (string | Num)[][];
  title: string;
  links: string[];
}

export type Panel = Plot | Heat | Network | Images | Numbers | Parallel | Table;

export interface Reading {
  label: string;
  value: number | null;
  text: string;
  role: Role;
}

/** A frame as `Figure.message` sends it. */
export interface FrameMessage {
  panels: Panel[];
  numbers: Reading[];
  notice: string;
  sentence: string;
  code: string;
  table: Table;
}

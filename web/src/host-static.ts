// The host of a file that works alone: frames that Python computed for a grid of states, unpacked when they are asked
// for. poise/lab/export/pack.py writes the format.
import type { Host, HostEvent, State, Value } from "./host";
import { apply, type Patch } from "./patch";
import type { FrameMessage } from "./scene";

export interface StoredFigure {
  axes: [string, Value[]][];
  words: string;
  text?: string; // the packed frames, if they are in this very file
  file?: string; // else the script that brings them
}

export interface StoredPage {
  figures: Record<string, StoredFigure>;
}

type ArrayFact = [number, "linear" | "log", number, number];

interface Head {
  base: unknown;
  patches: Patch[];
  arrays: ArrayFact[];
  texts: string[];
}

const OFFSET = 32766;
const NONE = -32768;
const ZERO = -32767;

/** The frames of one figure. */
class Frames {
  private readonly starts: number[] = [];
  private readonly arrays: (number | null)[][] = [];
  private readonly low: Uint8Array;
  private readonly high: Uint8Array;

  private constructor(
    private readonly head: Head,
    planes: Uint8Array,
  ) {
    this.low = planes.subarray(0, planes.length / 2);
    this.high = planes.subarray(planes.length / 2);
    let start = 0;
    for (const [count] of head.arrays) {
      this.starts.push(start);
      start += count;
    }
  }

  static async of(text: string): Promise<Frames> {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const whole = new Uint8Array(await new Response(stream).arrayBuffer());
    const size = new DataView(whole.buffer).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(whole.subarray(4, 4 + size))) as Head;
    return new Frames(head, whole.subarray(4 + size));
  }

  frame(at: number): FrameMessage & { error?: string } {
    return this.whole(apply(this.head.base, this.head.patches[at] as Patch)) as FrameMessage & { error?: string };
  }

  private array(at: number): (number | null)[] {
    const known = this.arrays[at];
    if (known) return known;
    const [count, kind, low, step] = this.head.arrays[at] as ArrayFact;
    const found: (number | null)[] = [];
    const start = this.starts[at] as number;
    let code = 0;
    for (let place = start; place < start + count; place += 1) {
      const delta = (this.low[place] as number) | ((this.high[place] as number) << 8);
      code = ((code + delta) << 16) >> 16;
      const value = low + (code + OFFSET) * step;
      found.push(code === NONE ? null : kind === "linear" ? value : code === ZERO ? 0 : Math.exp(value));
    }
    this.arrays[at] = found;
    return found;
  }

  private whole(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((item) => this.whole(item));
    if (value === null || typeof value !== "object") return value;
    const own = value as Record<string, unknown>;
    if ("$a" in own) return this.array(own.$a as number);
    if ("$s" in own) return this.head.texts[own.$s as number];
    if ("$c" in own) {
      const columns = (own.$c as unknown[]).map((column) => this.whole(column) as unknown[]);
      return (columns[0] ?? []).map((_, row) => columns.map((column) => column[row]));
    }
    return Object.fromEntries(Object.entries(own).map(([key, item]) => [key, this.whole(item)]));
  }
}

interface Opened {
  stored: StoredFigure;
  frames: Promise<Frames>;
  on: (event: HostEvent) => void;
}

declare global {
  var poiseFrames: Record<string, string> | undefined;
}

/** Brings a script that stands beside the page; a page opened from the disk may read no other kind of file. */
function brought(key: string, file: string): Promise<string> {
  return new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = file;
    script.onload = () => {
      const text = globalThis.poiseFrames?.[key];
      if (text === undefined) failed(new Error(file));
      else done(text);
    };
    script.onerror = () => failed(new Error(file));
    document.head.append(script);
  });
}

const nearest = (values: Value[], value: Value | undefined): number => {
  const at = values.indexOf(value as Value);
  if (at >= 0 || typeof value !== "number") return Math.max(0, at);
  const far = (one: Value): number => Math.abs(Number(one) - value);
  return values.reduce<number>((best, one, place) => (far(one) < far(values[best] as Value) ? place : best), 0);
};

export class StaticHost implements Host {
  private readonly opened = new Map<string, Opened>();

  constructor(private readonly page: StoredPage) {}

  open(key: string, _figure: string, _of: string[], state: State, on: (event: HostEvent) => void): void {
    const stored = this.page.figures[key];
    if (!stored) return on({ error: "This figure is not in the file.", id: 0 });
    const text = stored.text !== undefined ? Promise.resolve(stored.text) : brought(key, stored.file ?? "");
    this.opened.set(key, { stored, frames: text.then((packed) => Frames.of(packed)), on });
    on({ grid: Object.fromEntries(stored.axes) });
    this.set(key, 0, state);
  }

  set(key: string, id: number, state: State): void {
    const one = this.opened.get(key);
    if (!one) return;
    const at = one.stored.axes.reduce((sum, [name, values]) => sum * values.length + nearest(values, state[name]), 0);
    one.frames.then(
      (frames) => {
        const found = frames.frame(at);
        if (found.error !== undefined) one.on({ error: found.error, id });
        else one.on({ frame: found, id });
      },
      (error: unknown) => one.on({ error: `The figure's frames cannot be read: ${String(error)}.`, id }),
    );
  }

  act(): void {
    return; // a file holds recorded runs, moved by a slider
  }

  close(key: string): void {
    this.opened.delete(key);
  }
}


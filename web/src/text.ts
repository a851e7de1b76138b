// Numbers as text, and how wide a text is drawn, without asking the page's styles (a widget is measured unattached).

const FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif";
const MINUS = "\u2212";
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

let pen: CanvasRenderingContext2D | null | undefined;
const widths = new Map<string, number>();

export function widthOf(text: string, size: number, bold = false): number {
  const key = `${size}${bold ? "b" : "r"}${text}`;
  let width = widths.get(key);
  if (width === undefined) {
    pen ??= document.createElement("canvas").getContext("2d");
    if (pen) pen.font = `${bold ? 600 : 400} ${size}px ${FAMILY}`;
    width = pen ? pen.measureText(text).width : text.length * size * 0.58;
    if (widths.size > 4000) widths.clear();
    widths.set(key, width);
  }
  return width;
}

export const widest = (texts: string[], size: number, bold = false): number =>
  texts.reduce((most, text) => Math.max(most, widthOf(text, size, bold)), 0);

/** `text` cut to `room` pixels, with an ellipsis where it was cut. */
export function cut(text: string, room: number, size: number): string {
  if (widthOf(text, size) <= room) return text;
  let kept = text.length;
  while (kept > 1 && widthOf(`${text.slice(0, kept)}…`, size) > room) kept -= 1;
  return `${text.slice(0, kept).trimEnd()}…`;
}

/** `text` in one or two lines of at most `room` pixels, cut where even two do not hold it. */
export function lines(text: string, room: number, size: number): string[] {
  const words = text.split(" ");
  if (words.length === 1 || widthOf(text, size) <= room) return [cut(text, room, size)];
  let first = words.length - 1;
  while (first > 1 && widthOf(words.slice(0, first).join(" "), size) > room) first -= 1;
  return [cut(words.slice(0, first).join(" "), room, size), cut(words.slice(first).join(" "), room, size)];
}

/** A number in at most four digits, for readings by the pointer. Python's own texts are never formatted here. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not a number";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size >= 1e6 || size < 1e-3
      ? value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e")
      : String(Number(value.toPrecision(4)));
  return text.replace(/-/g, MINUS);
}

/** A power of ten as an axis writes it: 0.01, 100, 10⁻⁶. */
export function power(exponent: number): string {
  if (exponent >= -3 && exponent <= 4) return String(Number(`1e${exponent}`));
  const digits = String(Math.abs(exponent)).replace(/\d/g, (digit) => RAISED[Number(digit)] as string);
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

/** A control's value: short, and the same number that Python receives. */
export function valueText(value: number): string {
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) {
    return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e").replace(/-/g, MINUS);
  }
  return String(Number(value.toPrecision(4))).replace("-", MINUS);
}

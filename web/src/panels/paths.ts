// Outlines through points, broken where a point is missing.

export type Point = [number, number];

export const defined = ([x, y]: Point): boolean => x === x && y === y;

const short = (pixel: number): number => Math.round(pixel * 100) / 100;

/** A polyline through the points; a single point between gaps is a dot. */
export function polyline(points: Point[]): string {
  let d = "";
  let open = false;
  points.forEach((point, at) => {
    if (!defined(point)) {
      open = false;
      return;
    }
    const next = points[at + 1];
    d += `${open ? "L" : "M"}${short(point[0])},${short(point[1])}`;
    if (!open && (!next || !defined(next))) d += "h0";
    open = true;
  });
  return d;
}

/** The area between two lines over the same places. */
export function between(low: Point[], high: Point[]): string {
  let d = "";
  let from = 0;
  for (let at = 0; at <= low.length; at += 1) {
    const whole = at < low.length && defined(low[at] as Point) && defined(high[at] as Point);
    if (whole) continue;
    if (at - from > 1) d += `${polyline([...low.slice(from, at), ...high.slice(from, at).reverse()])}Z`;
    from = at + 1;
  }
  return d;
}

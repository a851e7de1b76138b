// What d3-scale needs of d3-interpolate for numbers alone.

type Blend = (a: number, b: number) => (t: number) => number;

export const interpolateNumber: Blend = (a, b) => (t) => a * (1 - t) + b * t;
export const interpolate = interpolateNumber;
export const interpolateRound: Blend = (a, b) => (t) => Math.round(a * (1 - t) + b * t);
export const piecewise = (): never => {
  throw new Error("only scales of numbers are built in");
};

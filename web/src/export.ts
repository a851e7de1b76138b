// What a reader takes along: the picture as SVG or PNG with its colours in it, the numbers as CSV or JSON.
import type { Table } from "./scene";

const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "fill-opacity", "stroke-opacity", "font-family", "font-size", "font-weight", "paint-order", "text-anchor"];
const PAD = 20;
const LINE = 22;
const SVG = "http://www.w3.org/2000/svg";

const make = (tag: string, attributes: Record<string, string | number>): SVGElement => {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
};

/** A copy of a drawing that needs no style sheet. */
function dressed(drawing: SVGElement): SVGElement {
  const copy = drawing.cloneNode(true) as SVGElement;
  const from = [drawing, ...drawing.querySelectorAll<SVGElement>("*")];
  const to = [copy, ...copy.querySelectorAll<SVGElement>("*")];
  from.forEach((element, at) => {
    const target = to[at] as SVGElement;
    target.removeAttribute("class");
    target.removeAttribute("style");
    for (const { name } of [...target.attributes]) if (/^(data-|aria-|focusable)/.test(name)) target.removeAttribute(name);
    if (/^(g|defs|clipPath|title|svg)$/.test(element.tagName)) return;
    const style = getComputedStyle(element);
    for (const name of KEPT) {
      const value = style.getPropertyValue(name);
      if (value && value !== "normal" && !(value === "none" && name === "stroke-dasharray")) target.setAttribute(name, value);
    }
  });
  for (const unseen of copy.querySelectorAll(".finger")) unseen.remove();
  return copy;
}

/** Words broken into lines of about `most` letters. */
function broken(words: string, most: number): string[] {
  const lines: string[] = [];
  for (const word of words.split(/\s+/)) {
    const last = lines[lines.length - 1];
    if (last !== undefined && last.length + word.length < most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** The figure's drawings with its title and its sentence, as one SVG element. */
export function pictureOf(card: HTMLElement, title: string, sentence: string): SVGSVGElement {
  const style = getComputedStyle(card);
  const origin = card.querySelector("[data-part=panels]")?.getBoundingClientRect() ?? card.getBoundingClientRect();
  const width = Math.ceil(origin.width) + 2 * PAD;
  const letters = Math.max(24, Math.floor((width - 2 * PAD) / 7.6));
  const ink = style.color;
  const text = (words: string, x: number, y: number, size: number, weight: number): SVGElement => {
    const element = make("text", { x, y, fill: ink, "font-size": size, "font-weight": weight, "font-family": style.fontFamily });
    element.textContent = words;
    return element;
  };
  const root = make("svg", { xmlns: SVG }) as SVGSVGElement;
  const titles = broken(title, Math.floor(letters * 0.82));
  const top = PAD + titles.length * (LINE + 3) + 6;
  const sentences = broken(sentence, letters);
  const height = Math.ceil(top + origin.height + sentences.length * LINE + PAD + 6);
  root.append(make("rect", { width, height, fill: style.getPropertyValue("background-color") }));
  titles.forEach((words, at) => root.append(text(words, PAD, PAD + 16 + at * (LINE + 3), 19, 650)));
  const put = (box: DOMRect, element: SVGElement): void => {
    element.setAttribute("x", String(box.left - origin.left + PAD));
    element.setAttribute("y", String(box.top - origin.top + top));
    root.append(element);
  };
  for (const drawing of card.querySelectorAll<SVGElement>("[data-part=panels] svg")) {
    const box = drawing.getBoundingClientRect();
    if (box.width && !drawing.parentElement?.closest("svg")) put(box, dressed(drawing));
  }
  for (const canvas of card.querySelectorAll("canvas")) {
    const box = canvas.getBoundingClientRect();
    put(box, make("image", { href: canvas.toDataURL(), width: box.width, height: box.height, "image-rendering": "pixelated" }));
  }
  for (const words of card.querySelectorAll<HTMLElement>("[data-part=panels] :is(.panel-title, .legend-item span, .tile span, dt, dd)")) {
    const box = words.getBoundingClientRect();
    if (!box.width || !words.textContent) continue;
    const own = getComputedStyle(words);
    const size = parseFloat(own.fontSize);
    const element = text(words.textContent, box.left - origin.left + PAD, box.top - origin.top + top + box.height / 2 + size * 0.35, size, Number(own.fontWeight));
    element.setAttribute("fill", own.color);
    root.append(element);
  }
  sentences.forEach((words, at) => root.append(text(words, PAD, top + origin.height + 26 + at * LINE, 15, 400)));
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  root.setAttribute("width", String(width));
  root.setAttribute("height", String(height));
  return root;
}

export const svgText = (picture: SVGSVGElement): string => `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(picture)}\n`;

/** Draws the picture on a canvas by hand: a page that loads nothing but its own files may not load a blob as an image. */
export function pngOf(picture: SVGSVGElement, card: HTMLElement, scale = 2): Promise<Blob | null> {
  const canvas = document.createElement("canvas");
  canvas.width = Number(picture.getAttribute("width")) * scale;
  canvas.height = Number(picture.getAttribute("height")) * scale;
  const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
  pen.scale(scale, scale);
  const canvases = [...card.querySelectorAll("canvas")];
  paint(pen, picture, canvases);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

const number = (element: Element, name: string): number => parseFloat(element.getAttribute(name) ?? "0") || 0;

function paint(pen: CanvasRenderingContext2D, element: Element, canvases: HTMLCanvasElement[]): void {
  for (const child of element.children) {
    pen.save();
    const turn = /rotate\(([-\d.]+)[ ,]+([-\d.]+)[ ,]+([-\d.]+)\)/.exec(child.getAttribute("transform") ?? "");
    if (turn) {
      const [angle, x, y] = turn.slice(1).map(Number) as [number, number, number];
      pen.translate(x, y);
      pen.rotate((angle * Math.PI) / 180);
      pen.translate(-x, -y);
    }
    if (child.tagName === "svg") {
      pen.translate(number(child, "x"), number(child, "y"));
      paint(pen, child, canvases);
    } else if (child.tagName === "g") {
      const clip = /url\("?#([^")]+)/.exec(child.getAttribute("clip-path") ?? "");
      const rect = clip && child.closest("svg")?.querySelector(`#${CSS.escape(clip[1] as string)} rect`);
      if (rect) {
        pen.beginPath();
        pen.rect(number(rect, "x"), number(rect, "y"), number(rect, "width"), number(rect, "height"));
        pen.clip();
      }
      paint(pen, child, canvases);
    } else if (child.tagName === "image") {
      const own = canvases.shift();
      pen.imageSmoothingEnabled = false;
      if (own) pen.drawImage(own, number(child, "x"), number(child, "y"), number(child, "width"), number(child, "height"));
    } else if (child.tagName !== "defs") paintOne(pen, child);
    pen.restore();
  }
}

function paintOne(pen: CanvasRenderingContext2D, element: Element): void {
  const own = (name: string, otherwise: string): string => element.getAttribute(name) ?? otherwise;
  const opacity = Number(own("opacity", "1"));
  const fill = own("fill", "black");
  const stroke = own("stroke", "none");
  const dashes = own("stroke-dasharray", "none");
  pen.setLineDash(dashes === "none" ? [] : dashes.split(/[ ,]+/).map(parseFloat));
  pen.lineWidth = parseFloat(own("stroke-width", "1"));
  pen.lineJoin = own("stroke-linejoin", "miter") as CanvasLineJoin;
  pen.lineCap = own("stroke-linecap", "butt") as CanvasLineCap;
  if (element.tagName === "text") {
    pen.font = `${own("font-weight", "400")} ${own("font-size", "13px")} ${own("font-family", "sans-serif")}`.replace(/(\d)( [^p\d]*$)/, "$1px$2");
    if (/^\d+(\.\d+)?$/.test(own("font-size", ""))) pen.font = `${own("font-weight", "400")} ${own("font-size", "13")}px ${own("font-family", "sans-serif")}`;
    pen.textAlign = ({ middle: "center", end: "right" } as const)[own("text-anchor", "start") as "middle" | "end"] ?? "left";
    const words = [...element.childNodes].filter((node) => node.nodeName !== "title").map((node) => node.textContent).join("");
    const [x, y] = [number(element, "x"), number(element, "y")];
    if (stroke !== "none") {
      pen.strokeStyle = stroke;
      pen.strokeText(words, x, y);
    }
    pen.globalAlpha = opacity;
    pen.fillStyle = fill;
    pen.fillText(words, x, y);
    return;
  }
  const path = pathOf(element);
  if (fill !== "none") {
    pen.globalAlpha = opacity * Number(own("fill-opacity", "1"));
    pen.fillStyle = fill;
    pen.fill(path);
  }
  if (stroke !== "none") {
    pen.globalAlpha = opacity * Number(own("stroke-opacity", "1"));
    pen.strokeStyle = stroke;
    pen.stroke(path);
  }
}

function pathOf(element: Element): Path2D {
  if (element.tagName === "path") return new Path2D(element.getAttribute("d") ?? "");
  const path = new Path2D();
  if (element.tagName === "circle") path.arc(number(element, "cx"), number(element, "cy"), number(element, "r"), 0, 2 * Math.PI);
  else if (element.tagName === "rect") path.rect(number(element, "x"), number(element, "y"), number(element, "width"), number(element, "height"));
  return path;
}

/** A cell that a spreadsheet must not take for a formula: texts that begin so are led by an apostrophe. */
function cell(value: string | number | null): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

export const csvOf = (table: Table): string => [table.columns, ...table.rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";

export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 2000);
}

// Elements with few words. Attributes are written only where they change, so a frame touches what it moves.

type Content = Node | string | null | undefined | false;
export type Attributes = Record<string, string | number | boolean | null | undefined>;

const SVG = "http://www.w3.org/2000/svg";

export function set<E extends Element>(element: E, attributes: Attributes): E {
  for (const name in attributes) {
    const value = attributes[name];
    if (value === null || value === undefined || value === false) {
      if (element.hasAttribute(name)) element.removeAttribute(name);
    } else {
      const text = value === true ? "" : String(value);
      if (element.getAttribute(name) !== text) element.setAttribute(name, text);
    }
  }
  return element;
}

export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...content: Content[]
): HTMLElementTagNameMap[K] {
  const element = set(document.createElement(tag), attributes);
  for (const item of content) if (item) element.append(item);
  return element;
}

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...content: Content[]
): SVGElementTagNameMap[K] {
  const element = set(document.createElementNS(SVG, tag), attributes);
  for (const item of content) if (item) element.append(item);
  return element;
}

/** Words with `code` between backticks set as code. */
export const worded = (text: string): Node[] =>
  text.split("`").map((part, at) => (at % 2 ? html("code", {}, part) : document.createTextNode(part)));

export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export const button = (label: string, attributes: Attributes, on: () => void): HTMLButtonElement => {
  const element = html("button", { type: "button", ...attributes }, label);
  element.addEventListener("click", on);
  return element;
};

/** Makes `parent` have exactly `count` children, made by `make` where they lack, and returns them. */
export function children<E extends Element>(parent: Element, count: number, make: (at: number) => E): E[] {
  while (parent.childElementCount > count) parent.lastElementChild?.remove();
  while (parent.childElementCount < count) parent.append(make(parent.childElementCount));
  return Array.from(parent.children) as E[];
}

/** Calls `run` at once, but once a frame: what is asked for again before the next frame waits for it. */
export function oncePerFrame(run: () => void): () => void {
  let ran = false;
  let asked = false;
  return () => {
    if (ran) {
      asked = true;
      return;
    }
    ran = true;
    requestAnimationFrame(() => {
      ran = false;
      if (asked) run();
      asked = false;
    });
    run();
  };
}

/** Calls `run` when `milliseconds` have passed since it was last asked for. */
export function later(run: () => void, milliseconds: number): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(run, milliseconds);
  };
}

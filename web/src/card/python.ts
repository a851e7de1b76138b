// A script with its strings, comments and keywords marked; no more than a reader's eye needs.
import { html } from "../dom";

const TOKENS =
  /(?<comment>#[^\n]*)|(?<string>"""[\s\S]*?"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?<word>\b(?:from|import|as|for|in|if|else|elif|while|def|return|class|with|not|and|or|is|None|True|False|lambda|print)\b)|(?<number>\b\d[\d_.]*(?:e[+-]?\d+)?\b)/g;

export function python(code: string): (Node | string)[] {
  const found: (Node | string)[] = [];
  let end = 0;
  for (const match of code.matchAll(TOKENS)) {
    const kind = Object.entries(match.groups ?? {}).find(([, text]) => text !== undefined)?.[0] ?? "";
    found.push(code.slice(end, match.index), html("span", { class: `py-${kind}` }, match[0]));
    end = match.index + match[0].length;
  }
  found.push(code.slice(end));
  return found;
}

// Light or dark: the reader's own choice, else the host's theme (a notebook's), else the system's.

export type Theme = "light" | "dark";
const KEPT = "poise-lab-theme";

const system = matchMedia("(prefers-color-scheme: dark)");

/** The theme of the notebook around a widget, by the marks that each kind leaves on the page. */
function hostTheme(): Theme | undefined {
  const { body, documentElement: root } = document;
  const jupyter = body.dataset["jpThemeLight"] ?? body.getAttribute("data-jp-theme-light");
  if (jupyter) return jupyter === "false" ? "dark" : "light";
  const code = body.dataset["vscodeThemeKind"];
  if (code) return code.includes("dark") || code === "vscode-high-contrast" ? "dark" : "light";
  const colab = root.getAttribute("theme");
  if (colab === "dark" || colab === "light") return colab;
  for (const element of [root, body]) {
    if (element.matches(".dark, .dark-theme, [data-theme=dark]")) return "dark";
    if (element.matches(".light, .light-theme, [data-theme=light]")) return "light";
  }
  return undefined;
}

function chosen(): Theme | undefined {
  try {
    const kept = localStorage.getItem(KEPT);
    return kept === "dark" || kept === "light" ? kept : undefined;
  } catch {
    return undefined; // a page may be denied its storage
  }
}

/** Keeps a widget's root in the theme of the notebook around it. Returns what ends that. */
export function followHost(root: HTMLElement): () => void {
  const apply = (): void => {
    root.dataset["theme"] = hostTheme() ?? (system.matches ? "dark" : "light");
  };
  apply();
  const watcher = new MutationObserver(apply);
  const what = { attributes: true, attributeFilter: ["class", "theme", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind"] };
  watcher.observe(document.documentElement, what);
  watcher.observe(document.body, what);
  system.addEventListener("change", apply);
  return () => {
    watcher.disconnect();
    system.removeEventListener("change", apply);
  };
}

/** The page's own theme: applied at once, and turned over by the button that is returned. */
export function pageTheme(): HTMLButtonElement {
  const root = document.documentElement;
  const own = document.createElement("button");
  const now = (): Theme => chosen() ?? (system.matches ? "dark" : "light");
  const apply = (): void => {
    const theme = now();
    root.dataset["theme"] = theme;
    own.textContent = theme === "dark" ? "Light" : "Dark";
    own.setAttribute("aria-label", `Switch to the ${theme === "dark" ? "light" : "dark"} theme`);
  };
  own.type = "button";
  own.className = "quiet theme";
  own.addEventListener("click", () => {
    const next: Theme = now() === "dark" ? "light" : "dark";
    try {
      if (next === (system.matches ? "dark" : "light")) localStorage.removeItem(KEPT);
      else localStorage.setItem(KEPT, next);
    } catch {
      root.dataset["theme"] = next;
      return;
    }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
  return own;
}

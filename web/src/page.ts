// A page of the lab: its figures, its address, its theme, and what it says about the connection.
import { Card } from "./card/card";
import { html, later, set, write } from "./dom";
import { format, parse, stateOf, type Address } from "./hash";
import { startOf, type FigureSpec, type Host, type State } from "./host";
import { Presenter } from "./present";
import { pageTheme } from "./theme";

export interface PageData {
  page: string;
  figures: Record<string, FigureSpec>;
}

const ADDRESS_REST = 250; // ms of rest until the address is rewritten

export class Page {
  private readonly cards = new Map<string, Card>();
  private readonly pending: HTMLElement[] = [];
  private address: Address = parse(location.hash);
  private jumping = false;
  private presenter: Presenter | undefined;
  private readonly banner = html("div", { class: "banner", role: "alert", hidden: true });
  private readonly rewrite = later(() => history.replaceState(history.state, "", this.hash()), ADDRESS_REST);

  constructor(
    private readonly data: PageData,
    private readonly host: Host,
  ) {
    document.querySelector("header.top")?.append(pageTheme());
    document.body.append(this.banner);
    document.querySelector("section.tries")?.remove(); // the figure asks its questions itself
    host.watch?.(({ open, words }) => {
      write(this.banner, words);
      this.banner.hidden = open;
      set(document.body, { "data-connection": open ? "open" : "closed" });
      for (const card of this.cards.values()) card.connected(open);
    });
    const elements = [...document.querySelectorAll<HTMLElement>("poise-figure")].filter((element) => data.figures[element.id]);
    if (data.page === "present") this.presenter = new Presenter(elements, (element) => this.mount(element), this.address.place);
    else this.mountAll(elements);
    addEventListener("popstate", () => this.arrive());
    document.addEventListener("click", (event) => this.clicked(event));
    this.markSections();
  }

  // ---- figures ----

  /** Mounts what is seen first, then the rest one by one, so that the first figure lives at once. */
  private mountAll(elements: HTMLElement[]): void {
    const target = this.place(this.address);
    if (target) target.scrollIntoView();
    const seen = elements.filter((element) => {
      const { top, bottom } = element.getBoundingClientRect();
      return bottom > -200 && top < innerHeight + 200;
    });
    for (const element of seen) this.mount(element);
    this.pending.push(...elements.filter((element) => !seen.includes(element)));
    this.mountNext(target);
  }

  private mountNext(target: Element | null): void {
    const next = this.pending.shift();
    if (!next) {
      if (target && scrollY > 0) target.scrollIntoView();
      return;
    }
    const card = this.mount(next);
    const begun = performance.now();
    const wait = (): void => {
      if (card.ready || performance.now() - begun > 1500) this.mountNext(target);
      else setTimeout(wait, 15);
    };
    setTimeout(wait, 15);
  }

  private mount(element: HTMLElement): Card {
    const key = element.id;
    const old = this.cards.get(key);
    if (old) return old;
    const spec = this.data.figures[key] as FigureSpec;
    const of = (element.dataset["of"] ?? "").split(" ").filter(Boolean);
    const present = this.data.page === "present";
    const chapter = of.length === 0;
    const card: Card = new Card(element, spec, {
      host: this.host,
      key,
      of,
      state: stateOf(spec, this.address.words[key]),
      heading: element.querySelector("h1, h2, h3, h4")?.tagName.toLowerCase() ?? "h3",
      present,
      changed: (_, jump) => this.changed(jump),
      started: () => {
        for (const other of this.cards.values()) if (other !== card) other.pause();
      },
      link: () => new URL(this.own(card, key), location.href).href,
      ...(chapter && this.data.page === "chapter" && location.protocol !== "file:" ? { large: () => `/f/${spec.id}${this.own(card, spec.id)}` } : {}),
    });
    this.cards.set(key, card);
    return card;
  }

  private own(card: Card, key: string): string {
    return `#${[key, ...format(key, card.spec, card.values)].join("&")}`;
  }

  // ---- address ----

  private hash(): string {
    const parts: string[] = this.address.place ? [encodeURIComponent(this.address.place)] : [];
    for (const [key, card] of this.cards) parts.push(...format(key, card.spec, card.values));
    for (const element of this.pending) {
      const spec = this.data.figures[element.id];
      if (spec) parts.push(...format(element.id, spec, stateOf(spec, this.address.words[element.id])));
    }
    return parts.length ? `#${parts.join("&")}` : location.pathname + location.search;
  }

  private changed(jump: boolean): void {
    if (this.jumping) return;
    if (jump) history.pushState(null, "", this.hash());
    else this.rewrite();
  }

  /** The reader went back, forward, or wrote in the address. */
  private arrive(): void {
    const before = this.address.place;
    this.address = parse(location.hash);
    for (const [key, card] of this.cards) card.follow(stateOf(card.spec, this.address.words[key]));
    if (this.presenter) this.presenter.go(this.address.place);
    else if (this.address.place !== before) this.place(this.address)?.scrollIntoView();
  }

  private place({ place, words }: Address): HTMLElement | null {
    const id = place || Object.keys(words)[0];
    return id ? document.getElementById(id) : null;
  }

  /** A link within the page: to a place, or to a state of a figure, which is set where it stands. */
  private clicked(event: MouseEvent): void {
    const link = (event.target as Element | null)?.closest?.("a[href]");
    if (!(link instanceof HTMLAnchorElement) || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const url = new URL(link.href, location.href);
    if (url.origin !== location.origin || url.pathname !== location.pathname || url.hash === "" || link.matches(".skip, .card a")) return;
    const wanted = parse(url.hash);
    event.preventDefault();
    this.jumping = true;
    for (const [key, words] of Object.entries(wanted.words)) {
      const element = document.getElementById(key);
      const spec = this.data.figures[key];
      if (element && spec) this.mount(element).jump(stateOf(spec, words));
    }
    this.jumping = false;
    if (wanted.place) this.address = { ...this.address, place: wanted.place };
    history.pushState(null, "", this.hash());
    const target = this.place(wanted);
    if (!target) return;
    if (this.presenter) return this.presenter.go(target.id);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    target.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: Object.keys(wanted.words).length ? "nearest" : "start" });
    if (wanted.place) {
      target.setAttribute("tabindex", "-1");
      target.focus({ preventScroll: true });
    } else target.classList.add("touched");
    setTimeout(() => target.classList.remove("touched"), 1200);
  }

  // ---- sections ----

  /** Marks in the contents which section is being read. */
  private markSections(): void {
    const links = new Map<Element, Element>();
    for (const link of document.querySelectorAll<HTMLAnchorElement>("nav.contents a[href*='#']")) {
      const section = document.getElementById(decodeURIComponent(link.hash.slice(1)));
      if (section) links.set(section, link);
    }
    if (!links.size) return;
    const inside = new Set<Element>();
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (entry.isIntersecting) inside.add(entry.target);
          else inside.delete(entry.target);
        }
        const current = [...links.keys()].find((section) => inside.has(section));
        for (const [section, link] of links) set(link, { "aria-current": section === current ? "location" : null });
      },
      { rootMargin: "-20% 0px -70% 0px" },
    );
    for (const section of links.keys()) watcher.observe(section);
  }
}

export { startOf, type State };

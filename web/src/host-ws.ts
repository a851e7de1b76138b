// The page's host: one web socket to the server that `poise lab` runs. It comes back by itself when the server does.
import type { Action, Host, HostEvent, State, Status } from "./host";
import { apply, type Patch } from "./patch";
import type { FrameMessage } from "./scene";

interface Opened {
  figure: string;
  of: string[];
  state: State;
  frame: FrameMessage | undefined;
  on: (event: HostEvent) => void;
}

interface Answer {
  key: string;
  id?: number;
  patch?: Patch;
  error?: string;
  playing?: boolean;
  done?: boolean;
}

const FIRST_WAIT = 400; // ms until the first attempt to reconnect; each further one waits 1.6 times as long
const LONGEST_WAIT = 5000;
const STOPPED =
  "The connection to the lab is closed: its server has stopped. Start `poise lab` again; this page then goes on by itself.";
const LOCKED = "The lab's server was started anew, and this page belongs to the old one. Open the address it printed.";

export class SocketHost implements Host {
  private readonly opened = new Map<string, Opened>();
  private readonly watchers: ((status: Status) => void)[] = [];
  private socket: WebSocket | undefined;
  private wait = FIRST_WAIT;

  constructor(private readonly address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`) {
    this.connect();
  }

  open(key: string, figure: string, of: string[], state: State, on: (event: HostEvent) => void): void {
    const one: Opened = { figure, of, state, frame: undefined, on };
    this.opened.set(key, one);
    this.sendOpen(key, one);
  }

  set(key: string, id: number, state: State): void {
    const one = this.opened.get(key);
    if (one) one.state = state;
    this.send({ op: "set", key, id, state });
  }

  act(key: string, id: number, action: Action): void {
    this.send({ op: action, key, id });
  }

  close(key: string): void {
    this.opened.delete(key);
    this.send({ op: "close", key });
  }

  exportAddress(figure: string, of: string[], state: State): string {
    return `/export?open=${encodeURIComponent(JSON.stringify({ op: "open", key: "export", figure, of, state }))}`;
  }

  watch(on: (status: Status) => void): void {
    this.watchers.push(on);
  }

  private tell(status: Status): void {
    for (const on of this.watchers) on(status);
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private sendOpen(key: string, one: Opened): void {
    this.send({ op: "open", key, figure: one.figure, of: one.of, state: one.state });
  }

  private connect(): void {
    const socket = new WebSocket(this.address);
    this.socket = socket;
    socket.onopen = () => {
      this.wait = FIRST_WAIT;
      this.tell({ open: true, words: "" });
      for (const [key, one] of this.opened) this.sendOpen(key, one);
    };
    socket.onmessage = (event) => this.receive(JSON.parse(event.data as string) as Answer);
    socket.onclose = () => {
      this.tell({ open: false, words: STOPPED });
      void this.explain();
      setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 1.6, LONGEST_WAIT);
    };
  }

  /** A server that answers but refuses us is another one than the page came from. */
  private async explain(): Promise<void> {
    try {
      const answer = await fetch(location.pathname, { method: "HEAD", cache: "no-store" });
      const open = this.socket?.readyState === WebSocket.OPEN;
      if (!open && (answer.status === 401 || answer.status === 403)) this.tell({ open: false, words: LOCKED });
    } catch {
      // nobody answers: STOPPED has said so
    }
  }

  private receive(answer: Answer): void {
    const one = this.opened.get(answer.key);
    if (!one) return; // closed meanwhile
    const id = answer.id ?? 0;
    if (answer.error !== undefined) one.on({ error: answer.error, id });
    if (answer.patch) {
      one.frame = apply(one.frame, answer.patch) as FrameMessage;
      one.on({ frame: one.frame, id });
    }
    if (answer.playing !== undefined) one.on({ playing: answer.playing, done: answer.done ?? false, id });
  }
}

// One request of a figure under way, and the newest that waits: a slow computation never queues, the last value lands.

export class Latest<T> {
  private underway: number | undefined;
  private waiting: T | undefined;
  private away = false;
  private id = 0;

  constructor(private readonly send: (id: number, what: T) => void) {}

  /** The id of the newest request. */
  get newest(): number {
    return this.id;
  }

  get busy(): boolean {
    return this.underway !== undefined;
  }

  ask(what: T): void {
    if (this.underway !== undefined) {
      this.waiting = what;
      return;
    }
    this.id += 1;
    if (!this.away) this.underway = this.id;
    this.send(this.id, what);
  }

  /** An id for a request that nothing waits for (play, pause). */
  next(): number {
    this.id += 1;
    return this.id;
  }

  /** The request with this id, and all before it, are answered. */
  answered(id: number): void {
    if (this.underway === undefined || id < this.underway) return;
    this.underway = undefined;
    if (this.waiting === undefined) return;
    const what = this.waiting;
    this.waiting = undefined;
    this.ask(what);
  }

  /** The connection is lost or back: what was under way is not answered; the next opening carries what was sent last. */
  connected(open: boolean): void {
    const what = this.waiting;
    this.away = true;
    this.underway = undefined;
    this.waiting = undefined;
    if (what !== undefined) this.ask(what);
    this.away = !open;
  }
}

// "Predict, then look": a question, a guess of the reader's own, and the figure's own words beside it, live.
import { button, html, worded, write } from "../dom";

export class Tries {
  readonly element: HTMLElement;
  private readonly answers: HTMLElement[] = [];
  private sentence = "";

  constructor(questions: string[], look: () => void) {
    this.element = html("div", { class: "tries", "data-part": "tries" });
    this.element.hidden = questions.length === 0;
    if (questions.length) this.element.append(html("p", { class: "small-title" }, "Predict, then look"));
    const list = html("ul");
    for (const question of questions) list.append(html("li", {}, this.one(question, look)));
    this.element.append(list);
  }

  private one(question: string, look: () => void): HTMLElement {
    const guess = html("input", { type: "text", class: "guess", autocomplete: "off", "aria-label": `Your guess: ${question}`, placeholder: "your guess" });
    const answer = html("p", { class: "answer", hidden: true });
    const yours = html("span");
    const now = html("span", { class: "answer-now" });
    answer.append(yours, now);
    const reveal = (): void => {
      yours.textContent = guess.value.trim() ? `You said “${guess.value.trim()}”. Now move the controls; the figure says: ` : "Move the controls; the figure says: ";
      answer.hidden = false;
      this.answers.push(now);
      write(now, this.sentence);
      look();
    };
    const go = button("Look", { class: "quiet" }, reveal);
    guess.addEventListener("keydown", (event) => {
      if (event.key === "Enter") reveal();
    });
    return html("details", { class: "try" }, html("summary", {}, ...worded(question)), html("div", { class: "try-body" }, guess, go), answer);
  }

  show(sentence: string): void {
    this.sentence = sentence;
    for (const answer of this.answers) write(answer, sentence);
  }
}

// The card of one picture: the picture with its heat map, the answer, and the probabilities as bars.

import { drawHeat } from "./heat.js";
import { counted, explain, percent } from "./wording.js";

const SHOWN = 5; // classes; the others are folded
const TINY = 100; // pixels; a smaller picture is shown with sharp pixels

function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export class Card {
  constructor(file, settings) {
    this.file = file;
    this.heatmap = null;
    this.uri = URL.createObjectURL(file);
    this.picture = make("div", settings.orientation === "ignore" ? "picture stored" : "picture");
    this.frame = make("div", "frame", this.picture);
    this.said = make("div", "said");
    this.element = make("li", "card", this.frame, this.said);
    this.#showPicture();
    this.#say("asked", "Asking …");
  }

  #showPicture() {
    const image = make("img");
    image.alt = `Picture ${this.file.name}`;
    image.decoding = "async";
    image.loading = "lazy"; // a thousand photographs would fill the memory
    image.onload = () => {
      this.ratio = image.naturalWidth / image.naturalHeight;
      this.picture.style.setProperty("--ratio", this.ratio);
      this.picture.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) < TINY);
      this.#draw();
    };
    image.onerror = () => {
      this.frame.classList.add("blank");
      this.frame.replaceChildren(make("div", "gone", "No preview"));
    };
    image.src = this.uri;
    this.picture.append(image);
  }

  #say(state, heading, ...rest) {
    this.element.className = `card ${state}`;
    this.element.setAttribute("aria-busy", state === "asked");
    this.said.replaceChildren(make("h3", "", heading), ...rest, make("p", "path", this.file.name));
  }

  showAnswer(answer) {
    const bars = answer.probabilities.map(([name, probability]) => makeBar(name, probability));
    const rest = [make("ol", "bars", ...bars.slice(0, SHOWN))];
    if (bars.length > SHOWN) {
      const others = make("ol", "bars", ...bars.slice(SHOWN));
      rest.push(make("details", "", make("summary", "", counted(bars.length - SHOWN, "more class", "more classes")), others));
    }
    if (answer.accepted) this.#say("answered", answer.label, ...rest);
    else this.#say("none", "None of these", make("p", "quiet", `The nearest is ${answer.probabilities[0]?.[0] ?? answer.label}.`), ...rest);
  }

  showProblem(problem, again) {
    const [heading, remedy] = explain(problem, this.file);
    const button = make("button", "", "Try again");
    button.type = "button";
    button.setAttribute("aria-label", `Try ${this.file.name} again`);
    button.onclick = () => {
      this.#say("asked", "Waiting …");
      again();
    };
    this.#say("wrong", heading, make("p", "", remedy), ...(problem.kind === "refused" || problem.kind === "large" ? [] : [button]));
  }

  showWaiting() {
    this.#say("asked", "Waiting for the model server …");
  }

  setHeat(heatmap, resize) {
    this.heatmap = heatmap;
    this.resize = resize;
    this.#draw();
  }

  /** Shows the heat map with a strength from 0, which hides it, to 1. */
  showHeat(strength) {
    this.strength = strength;
    if (this.canvas) this.canvas.style.opacity = strength;
    else this.#draw();
  }

  #draw() {
    if (!this.heatmap || !this.ratio || !this.strength) return;
    this.canvas ??= make("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Heat map of ${this.file.name}`);
    this.canvas.style.opacity = this.strength;
    drawHeat(this.canvas, this.heatmap, this.ratio, this.resize);
    this.picture.append(this.canvas);
  }

  release() {
    URL.revokeObjectURL(this.uri);
    this.element.remove();
  }
}

function makeBar(name, probability) {
  const bar = make("span", "bar");
  bar.setAttribute("aria-hidden", "true");
  bar.style.setProperty("--share", probability);
  return make("li", "", make("span", "name", name), make("span", "", percent(probability)), bar);
}

// Queue of questions: two at a time, answers before heat maps; it waits while the model server is gone.

const AT_ONCE = 2;
const TRIES = 4; // of one picture, while the server is busy or gone
const LOOK = 3000; // milliseconds between two looks for a server that is gone

export class Queue {
  #waiting = []; // pictures without an answer
  #later = []; // pictures without a heat map
  #running = new Set();
  #abort = new AbortController();

  /**
   * @param {object} actions functions of the page: answer(job, signal) and explain(job, signal), which ask; wait(job);
   *     fail(job, problem, asking); look(), which fails while the server is gone; changed(), which shows the state.
   */
  constructor(actions) {
    this.actions = actions;
    this.stopped = false;
    this.gone = "";
    this.done = this.total = 0;
  }

  get waiting() {
    return this.#waiting.length;
  }

  get idle() {
    return !this.#waiting.length && ![...this.#running].some((job) => job.asking === "answer");
  }

  add(jobs) {
    this.#waiting.push(...jobs);
    this.total += jobs.length;
    this.#go();
  }

  addLater(job) {
    if (!this.#later.includes(job)) this.#later.push(job);
    this.#go();
  }

  dropLater() {
    this.#later = [];
  }

  stop(stopped) {
    this.stopped = stopped;
    this.#go();
  }

  clear() {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#waiting = [];
    this.#later = [];
    this.#running.clear();
    this.stopped = false;
    this.done = this.total = 0;
    this.#go();
  }

  #go() {
    while (!this.stopped && !this.gone && this.#running.size < AT_ONCE) {
      const asking = this.#waiting.length ? "answer" : "explain";
      const job = this.#waiting.shift() ?? this.#later.shift();
      if (!job) break;
      job.asking = asking;
      this.#running.add(job);
      this.#run(job, asking, this.#abort.signal);
    }
    this.actions.changed();
  }

  async #run(job, asking, signal) {
    try {
      await this.actions[asking](job, signal);
    } catch (problem) {
      if (signal.aborted) return;
      await this.#fail(job, asking, problem, signal);
    }
    if (signal.aborted) return;
    this.#running.delete(job);
    if (asking === "answer" && !job.again) this.done += 1;
    job.again = false;
    this.#go();
  }

  async #fail(job, asking, problem, signal) {
    job.tries = (job.tries ?? 0) + 1;
    job.again = ["busy", "gone"].includes(problem.kind) && job.tries < TRIES;
    if (!job.again) return this.actions.fail(job, problem, asking);
    if (asking === "answer") this.actions.wait(job);
    (asking === "answer" ? this.#waiting : this.#later).unshift(job);
    if (problem.kind === "busy") await new Promise((wake) => setTimeout(wake, 1000 * job.tries));
    else if (!signal.aborted) this.wait(problem.message);
  }

  /** Asks nothing until the server answers again; the message is shown meanwhile. */
  async wait(message) {
    if (this.gone) return;
    this.gone = message;
    while (this.gone) {
      this.actions.changed();
      await new Promise((wake) => setTimeout(wake, LOOK));
      try {
        await this.actions.look();
        this.gone = "";
      } catch (problem) {
        this.gone = problem.message || message;
      }
    }
    this.#go();
  }
}

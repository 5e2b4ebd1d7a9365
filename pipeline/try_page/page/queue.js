// Queue of questions: two at a time, answers before heat maps; it waits while the model server is gone.

const AT_ONCE = 2;
const TRIES = 4; // of one picture, while the server is busy or gone
const LOOK = 3000; // milliseconds between two looks for a server that is gone

export class Queue {
  #waiting = []; // pictures without an answer
  #later = new Set(); // pictures without a heat map
  #running = new Set(); // pairs of a picture and a question
  #abort = new AbortController();

  /**
   * @param {object} actions functions of the page: answer(job, signal) and explain(job, signal), which ask; wait(job);
   *     fail(job, problem, asking); look(), which fails while the server is gone; changed(), which shows the state.
   */
  constructor(actions) {
    this.actions = actions;
    this.stopped = false;
    this.gone = ""; // reason why nothing is asked
    this.done = this.total = 0;
  }

  get waiting() {
    return this.#waiting.length;
  }

  add(jobs) {
    this.#waiting.push(...jobs);
    this.total += jobs.length;
    this.#go();
  }

  addLater(job) {
    if ([...this.#running].some((pair) => pair.job === job && pair.asking === "explain")) return;
    this.#later.add(job);
    this.#go();
  }

  dropLater() {
    this.#later.clear();
  }

  stop(stopped) {
    this.stopped = stopped;
    this.#go();
  }

  clear() {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#waiting = [];
    this.#later.clear();
    this.#running.clear();
    this.stopped = false;
    this.done = this.total = 0;
    this.#go();
  }

  /** Asks nothing until the server answers again; the message is shown meanwhile. */
  async wait(message) {
    if (this.gone) return;
    this.gone = message;
    while (this.gone) {
      this.actions.changed();
      await sleep(LOOK);
      try {
        await this.actions.look();
        this.gone = "";
      } catch (problem) {
        this.gone = problem.message || message;
      }
    }
    this.#go();
  }

  #go() {
    while (!this.stopped && !this.gone && this.#running.size < AT_ONCE) {
      const pair = this.#next();
      if (!pair) break;
      this.#running.add(pair);
      this.#run(pair, this.#abort.signal);
    }
    this.actions.changed();
  }

  #next() {
    if (this.#waiting.length) return { job: this.#waiting.shift(), asking: "answer" };
    const [job] = this.#later;
    this.#later.delete(job);
    return job && { job, asking: "explain" };
  }

  async #run(pair, signal) {
    let again = false;
    try {
      await this.actions[pair.asking](pair.job, signal);
    } catch (problem) {
      if (!signal.aborted) again = await this.#fail(pair, problem);
    }
    if (signal.aborted) return; // all was cleared meanwhile
    this.#running.delete(pair);
    if (again) this.#putBack(pair);
    else if (pair.asking === "answer") this.done += 1;
    this.#go();
  }

  /** Tells the page of a failure; returns whether the picture is to be asked again. */
  async #fail({ job, asking }, problem) {
    job.tries = (job.tries ?? 0) + 1;
    const again = ["busy", "gone"].includes(problem.kind) && job.tries < TRIES;
    if (!again) this.actions.fail(job, problem, asking);
    else if (asking === "answer") this.actions.wait(job);
    if (again && problem.kind === "busy") await sleep(1000 * job.tries);
    if (problem.kind === "gone") this.wait(problem.message);
    return again;
  }

  #putBack({ job, asking }) {
    if (asking === "answer") this.#waiting.unshift(job);
    else this.#later.add(job);
  }
}

function sleep(milliseconds) {
  return new Promise((wake) => setTimeout(wake, milliseconds));
}

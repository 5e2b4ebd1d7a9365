// The page of ./graft try: takes pictures, asks for answers and heat maps, and says how far it is.

import { Card } from "./card.js";
import { listDropped, MOST } from "./files.js";
import { Queue } from "./queue.js";
import { ask, describeModel, Problem } from "./server.js";
import { counted, makeSentence, megabytes, summarize } from "./wording.js";

const FEW = 3; // pictures whose answers are told one by one to a screen reader
const NOTES = {
  crop: "The network sees the middle square; what is cut off is gray.",
  pad: "The network sees the whole picture, in the middle of a black square.",
  stretch: "The network sees the whole picture, stretched to a square.",
  unknown: "The server does not tell how it makes a square of a picture: the map is drawn as if it were stretched.",
};
const at = (id) => document.getElementById(id);
const cards = new Set();
let model = null;
let batches = 0;

const queue = new Queue({ answer, explain, fail, look, changed, wait: (job) => job.card?.showWaiting() });

async function look() {
  const found = await describeModel();
  const before = model;
  model = found;
  at("model").textContent = `Model ${found.model}, version ${found.version}, of the server at ${found.server}`;
  at("graft").textContent = found.graft;
  at("limits").textContent =
    `JPEG, PNG, GIF and BMP, up to ${megabytes(found.max_bytes)} each. Pictures go to the model server alone, and are not kept.`;
  at("heat").hidden = !found.explains;
  at("heat-note").textContent = NOTES[found.resize] ?? NOTES.unknown;
  if (before && before.version !== found.version) notice(`The server has version ${found.version} now; earlier answers are of version ${before.version}.`);
  changed();
}

function say(text) {
  at("said").textContent = text;
}

/** Says something that is also seen, until the next pictures come. */
function notice(text) {
  at("notice").hidden = !text;
  at("notice").textContent = text;
  if (text) say(text);
}

function changed() {
  const trouble = describeTrouble();
  at("trouble").hidden = !trouble;
  // Written only where it changes, for it is read out each time.
  if (at("trouble-text").textContent !== trouble) at("trouble-text").textContent = trouble;
  const { done, total } = queue;
  at("tools").hidden = !cards.size && !total;
  at("drop").classList.toggle("small", cards.size > 0);
  at("progress").hidden = !total || done === total;
  at("progress").max = total || 1;
  at("progress").value = done;
  at("count").textContent = done < total ? `${done} of ${counted(total, "picture")} answered` : counted(cards.size, "picture");
  at("stop").hidden = !queue.waiting;
  at("stop").textContent = queue.stopped ? "Go on" : "Stop";
}

function describeTrouble() {
  if (!queue.gone) return makeSentence(model?.problem ?? "");
  const waits = queue.waiting ? ` ${counted(queue.waiting, "picture")} will be asked when it answers again.` : "";
  return makeSentence(queue.gone) + waits;
}

function add(files) {
  if (!files.length) return;
  notice("");
  const room = MOST - cards.size - queue.waiting;
  const taken = files.slice(0, Math.max(room, 0));
  const left = files.length - taken.length;
  if (left) {
    notice(`${counted(MOST, "picture")} at the most: ${counted(left, "file")} left out. ./graft predict FOLDER takes any number.`);
  }
  batches += 1;
  queue.add(taken.map((file, index) => ({ file, rank: index - batches * MOST, few: taken.length <= FEW })));
}

/** Puts the newest drop before the others, in its own order: two are asked at a time, and the later may be first. */
function place(job) {
  const next = [...at("results").children].find((element) => Number(element.dataset.rank) > job.rank);
  job.card.element.dataset.rank = job.rank;
  at("results").insertBefore(job.card.element, next ?? null);
  cards.add(job.card);
}

async function answer(job, signal) {
  if (!model) await look();
  signal.throwIfAborted();
  if (!job.card) {
    job.card = new Card(job.file, model);
    place(job);
  }
  if (model.problem) throw new Problem("other", model.problem);
  if (job.file.size > model.max_bytes) {
    throw new Problem("large", `larger than the ${megabytes(model.max_bytes)} that the server takes`);
  }
  const found = await ask("predict", job.file, signal);
  job.card.showAnswer(found);
  tell(job, summarize(job.file.name, found));
  job.tries = 0;
  if (model.explains) wantHeat(job.card, job);
}

async function explain(job, signal) {
  const { heatmap, coarse, resize = model.resize } = await ask("explain", job.file, signal);
  job.card.setHeat(heatmap, resize);
  at("heat-note").textContent = `${NOTES[resize] ?? NOTES.unknown} ${coarse}`;
}

function fail(job, problem, asking = "answer") {
  if (asking === "explain") return say(`No heat map of ${job.file.name}: ${problem.message}.`);
  job.card ??= new Card(job.file, model ?? {});
  if (!cards.has(job.card)) place(job);
  job.card.showProblem(problem, () => again(job));
  tell(job, `${job.file.name}: ${job.card.said.querySelector("h3").textContent}`);
}

function again(job) {
  job.tries = 0;
  queue.done -= 1;
  queue.total -= 1;
  queue.add([job]);
}

function tell(job, text) {
  const last = queue.done + 1 >= queue.total;
  if (job.few) say(text);
  else if (last) say(`${counted(queue.total, "picture")} answered.`);
  else if ((queue.done + 1) % 20 === 0) say(`${queue.done + 1} of ${counted(queue.total, "picture")} answered`);
}

function wantHeat(card, job) {
  card.job = job;
  const on = at("heat-on").checked;
  card.showHeat(on ? at("heat-strength").value / 100 : 0);
  if (on && !card.heatmap) queue.addLater(job);
}

function heatChanged() {
  if (!at("heat-on").checked) queue.dropLater();
  for (const card of cards) if (card.job) wantHeat(card, card.job);
}

function clear() {
  queue.clear();
  for (const card of cards) card.release();
  cards.clear();
  notice("");
  say("Cleared.");
  changed();
  at("choose").focus();
}

function isFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

function listen() {
  let depth = 0; // of dragenter: each element inside sends its own
  const over = (on) => at("drop").classList.toggle("over", on);
  addEventListener("dragenter", (event) => isFiles(event) && over((depth += 1) > 0));
  addEventListener("dragleave", (event) => isFiles(event) && over((depth = Math.max(depth - 1, 0)) > 0));
  addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault(); // else the browser would open the file
    over((depth = 0) > 0);
    add(await listDropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) add(files);
    else notice("The clipboard holds no picture.");
  });
  for (const id of ["choose", "photograph"]) {
    at(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = ""; // so that the same file can be chosen again
    });
  }
  at("stop").addEventListener("click", () => queue.stop(!queue.stopped));
  at("clear").addEventListener("click", clear);
  at("heat-on").addEventListener("change", heatChanged);
  at("heat-strength").addEventListener("input", heatChanged);
}

if (navigator.platform.startsWith("Mac")) at("paste-key").textContent = "⌘";
listen();
look().catch((problem) => queue.wait(problem.message));

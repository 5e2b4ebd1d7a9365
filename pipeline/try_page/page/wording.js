// Sentences of the page: numbers with their words, and reasons that a person can act on.

const NO_IMAGE = "not an image";
const OTHER_FORMATS = {
  heic: "HEIC, the format of iPhones", heif: "HEIC, the format of iPhones", webp: "WebP", avif: "AVIF", tif: "TIFF", tiff: "TIFF",
  svg: "SVG, a drawing", jxl: "JPEG XL", jp2: "JPEG 2000", pdf: "PDF", dng: "a raw photograph", mp4: "a film", mov: "a film",
};

export function percent(probability) {
  if (probability > 0 && probability < 0.001) return "< 0.1 %";
  if (probability < 1 && probability > 0.999) return "> 99.9 %";
  return `${(100 * probability).toFixed(1)} %`;
}

export function counted(number, one, many = `${one}s`) {
  return number === 1 ? `1 ${one}` : `${number.toLocaleString("en")} ${many}`;
}

export function makeSentence(text) {
  return text && text[0].toUpperCase() + text.slice(1).replace(/\.?$/, ".");
}

export function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** Returns the two sentences of a card without an answer: a heading and a remedy. */
export function explain(problem, file) {
  if (problem.kind === "empty") return ["This file is empty", "Choose another one."];
  if (problem.kind === "unreadable") return ["This file cannot be read", "It is a folder, or it was moved or changed. Drop it again."];
  if (problem.kind === "large") {
    return ["This picture is too large", `It has ${megabytes(file.size)}: ${problem.message}. Save it smaller, or in JPEG.`];
  }
  if (problem.kind === "refused" && problem.message.startsWith(NO_IMAGE)) return explainFormat(file);
  const heading = { refused: "The model refuses this picture", late: "No answer in time" }[problem.kind] ?? "No answer";
  return [heading, makeSentence(problem.message)];
}

function explainFormat(file) {
  const ending = /\.([a-z0-9]+)$/i.exec(file.name)?.[1].toLowerCase();
  const format = OTHER_FORMATS[ending];
  const taken = "The model reads JPEG, PNG, GIF and BMP.";
  if (!format) return ["This is no picture that the model reads", taken];
  return [`The model does not read ${format}`, `${taken} Save the picture in one of these, or use ./graft convert.`];
}

/** Returns what a screen reader is told of one answer. */
export function summarize(name, answer) {
  const [first, probability] = answer.probabilities[0];
  return `${name}: ${answer.accepted ? answer.label : `none of these, nearest ${first}`}, ${percent(probability)}`;
}

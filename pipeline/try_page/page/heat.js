// Drawing of a heat map, rows of numbers from 0 to 1, onto a canvas that covers the picture as it is shown.

import { COLOURS } from "./colours.js"; // which the server writes: colours by heat, at equal distances

const SIDE = 320; // pixels of the canvas' longer side

function colour(heat) {
  const place = heat * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((value, i) => value + (place - below) * (COLOURS[below + 1][i] - value));
}

/** Returns where the square that the network sees lies in a picture: left, top, width and height. */
export function findSquare(width, height, resize) {
  if (resize !== "crop" && resize !== "pad") return [0, 0, width, height]; // stretched
  const side = resize === "crop" ? Math.min(width, height) : Math.max(width, height);
  return [(width - side) / 2, (height - side) / 2, side, side];
}

export function drawHeat(canvas, heatmap, ratio, resize) {
  canvas.width = Math.round(ratio >= 1 ? SIDE : SIDE * ratio);
  canvas.height = Math.round(ratio >= 1 ? SIDE / ratio : SIDE);
  const context = canvas.getContext("2d");
  context.fillStyle = "#7f7f7f"; // what the network did not see
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(paint(heatmap), ...findSquare(canvas.width, canvas.height, resize));
}

/** Returns a canvas with one pixel for each number. */
function paint(heatmap) {
  const canvas = document.createElement("canvas");
  canvas.width = heatmap[0].length;
  canvas.height = heatmap.length;
  const image = new ImageData(canvas.width, canvas.height);
  heatmap.flat().forEach((heat, i) => image.data.set([...colour(heat), 255], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

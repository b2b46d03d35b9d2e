/** A loop's contours as the box sends them. */

const HEADER_BYTES = 12;
const SUBPIXELS = 8;
const ABSENT = -32768;

/** The contours of every frame: little-endian `ECC1`, then int16 in eighths of a source pixel. */
export class Contours {
  #values;
  #labels;
  #points;
  #known = new Map();

  /**
   * @param {ArrayBuffer} buffer what the box sent
   * @param {number[]} labels label value of each structure, in the order of the pack
   */
  constructor(buffer, labels) {
    const view = new DataView(buffer);
    this.frames = view.getUint16(4, true);
    this.available = view.getUint16(8, true);
    this.#points = view.getUint8(7);
    this.#labels = labels;
    this.#values = new Int16Array(buffer, HEADER_BYTES);
  }

  /**
   * @param {number} frame
   * @returns {Map<number, Float32Array>} label to x, y, x, y… in source pixels; absent ones missing;
   *   always the same, and never to be changed
   */
  at(frame) {
    if (!this.#known.has(frame)) this.#known.set(frame, this.#read(frame));
    return this.#known.get(frame);
  }

  #read(frame) {
    const size = 2 * this.#points;
    const lines = this.#labels.map((_, place) => {
      const start = (frame * this.#labels.length + place) * size;
      return this.#values.subarray(start, start + size);
    });
    return read(frame < this.frames ? lines : [], this.#labels);
  }
}

/**
 * @param {ArrayLike<number>[]} lines of one frame, as they are packed
 * @param {number[]} labels
 * @returns {Map<number, Float32Array>} label to x, y, x, y… in source pixels; absent ones missing
 */
export function read(lines, labels) {
  const there = lines.map((line, place) => [labels[place], line]).filter(([, line]) => line[0] !== ABSENT);
  return new Map(there.map(([label, line]) => [label, Float32Array.from(line, (value) => value / SUBPIXELS)]));
}

/** How certain each point of the model's contours is: little-endian `ECQ1`, then uint8. */
export class Certainty {
  #values;
  #labels;
  #points;

  /**
   * @param {ArrayBuffer} buffer what the box sent
   * @param {number[]} labels label value of each structure, in the order of the pack
   */
  constructor(buffer, labels) {
    const view = new DataView(buffer);
    this.frames = view.getUint16(4, true);
    this.#points = view.getUint8(7);
    this.#labels = labels;
    this.#values = new Uint8Array(buffer, 8);
  }

  /**
   * @param {number} frame
   * @param {number} label
   * @returns {Uint8Array | undefined} 0 to 255 for each point of that contour
   */
  at(frame, label) {
    const place = this.#labels.indexOf(label);
    if (frame >= this.frames || place < 0) return undefined;
    const start = (frame * this.#labels.length + place) * this.#points;
    return this.#values.subarray(start, start + this.#points);
  }
}

/**
 * @param {Float32Array} points x, y, x, y…
 * @returns {number} enclosed area in square source pixels
 */
export function area(points) {
  let twice = 0;
  for (let i = 0; i < points.length; i += 2) {
    const j = (i + 2) % points.length;
    twice += points[i] * points[j + 1] - points[j] * points[i + 1];
  }
  return Math.abs(twice) / 2;
}

/** A correction being drawn: points dragged with a soft falloff, every stroke undoable. */

import { area } from './contours.js';

const SOFTNESS = 0.055; // standard deviation of the falloff, as a share of the contour's length
const BESIDE = 4; // source pixels: a neighbour's line this close to the dragged one goes with it

/**
 * @typedef {{points: Float32Array, drawn: boolean}} Line `drawn` by a person, or only carried along
 * @typedef {Map<number, Line>} Frame label to line
 */

/** The corrected frames of one loop and the way back from each stroke. */
export class Editor {
  #base;
  #size;
  #frames = new Map();
  #marks = {};
  #undo = [];
  #redo = [];
  #stroke = null;

  /**
   * @param {(frame: number) => Map<number, Float32Array>} base contours before any correction
   * @param {{columns: number, rows: number}} size of a source frame
   */
  constructor(base, size) {
    this.#base = base;
    this.#size = size;
  }

  /**
   * @param {number} frame
   * @returns {Map<number, Float32Array>} the contours as they stand now
   */
  at(frame) {
    const standing = new Map(this.#base(frame));
    for (const [label, line] of this.#frames.get(frame) ?? []) standing.set(label, line.points);
    return standing;
  }

  /** @returns {boolean} whether anything differs from the base */
  get changed() {
    return this.#frames.size > 0 || Object.keys(this.#marks).length > 0;
  }

  /** @returns {number[]} frames that were drawn on */
  get frames() {
    return [...this.#frames.keys()].sort((a, b) => a - b);
  }

  /** @returns {{ed?: number, es?: number}} frames a person named */
  get marks() {
    return this.#marks;
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** @returns {[number, number] | null} the point under the finger */
  get grabbed() {
    if (!this.#stroke) return null;
    const { points, index } = this.#stroke.moving[0];
    return [points[2 * index], points[2 * index + 1]];
  }

  /**
   * Take hold of the contour nearest to a place.
   * @param {number} frame
   * @param {number} x
   * @param {number} y
   * @param {number} reach in source pixels
   * @returns {boolean} whether one is near enough
   */
  grab(frame, x, y, reach) {
    const standing = this.at(frame);
    const near = nearest(standing, x, y);
    if (!near || near.distance > reach) return false;
    const line = standing.get(near.label);
    const weights = falloff(line, near.index);
    const moving = [{ label: near.label, points: line, weights, index: near.index, drawn: true }];
    for (const [label, points] of standing) {
      const carried = label === near.label ? null : besides(points, line, weights);
      if (carried) moving.push({ label, points, weights: carried, index: 0, drawn: false });
    }
    const from = moving.map((part) => part.points);
    this.#stroke = { frame, x, y, moving, from, before: this.#frames.get(frame) };
    return true;
  }

  /**
   * Move what was grabbed.
   * @param {number} x
   * @param {number} y
   */
  drag(x, y) {
    const stroke = this.#stroke;
    if (!stroke) return;
    const drawn = new Map(stroke.before ?? []);
    stroke.moving.forEach((part, i) => {
      part.points = this.#moved(stroke.from[i], part.weights, x - stroke.x, y - stroke.y);
      const already = stroke.before?.get(part.label)?.drawn ?? false;
      drawn.set(part.label, { points: part.points, drawn: part.drawn || already });
    });
    this.#frames.set(stroke.frame, drawn);
  }

  /** Let go: the stroke becomes one step to undo. */
  drop() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (stroke) this.#did(stroke.frame, stroke.before, this.#frames.get(stroke.frame));
  }

  /** Let go as if it had not been grabbed. */
  cancel() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (stroke) this.#put(stroke.frame, stroke.before);
  }

  /**
   * Give a frame back its base contours; one step to undo.
   * @param {number} frame
   */
  reset(frame) {
    const before = this.#frames.get(frame);
    this.#put(frame, undefined);
    this.#did(frame, before, undefined);
  }

  /** Give everything back; one step to undo. */
  clear() {
    const before = { frames: this.#frames, marks: this.#marks };
    this.#frames = new Map();
    this.#marks = {};
    this.#push({ frame: null, all: [before, { frames: this.#frames, marks: this.#marks }] });
  }

  /**
   * Name the frame of end diastole or end systole; one step to undo.
   * @param {'ed' | 'es'} what
   * @param {number} frame
   */
  mark(what, frame) {
    const before = this.#marks;
    this.#marks = { ...before, [what]: frame };
    this.#push({ frame, marks: [before, this.#marks] });
  }

  /** @returns {{frame: number | null} | null} what was taken back, and on which frame */
  undo() {
    return this.#step(this.#undo, this.#redo, 0);
  }

  /** @returns {{frame: number | null} | null} what was done again, and on which frame */
  redo() {
    return this.#step(this.#redo, this.#undo, 1);
  }

  /**
   * What a person drew, as the box takes it.
   * @returns {Record<string, Record<string, number[][]>>} frame, label, points
   */
  contours() {
    const sent = {};
    for (const [frame, lines] of this.#frames) {
      const drawn = [...lines].filter(([, line]) => line.drawn);
      sent[frame] = Object.fromEntries(drawn.map(([label, { points }]) => [label, pairs(points)]));
    }
    return sent;
  }

  /**
   * How an area of a frame changed against the base.
   * @param {number} frame
   * @param {number} label
   * @returns {number} 1 when it didn't
   */
  growth(frame, label) {
    const line = this.#frames.get(frame)?.get(label);
    const base = this.#base(frame).get(label);
    return line && base ? area(line.points) / Math.max(1, area(base)) : 1;
  }

  /** @returns {object} everything needed to go on later; holds no name */
  save() {
    const frames = [...this.#frames].map(([frame, lines]) => [
      frame,
      [...lines].map(([label, { points, drawn }]) => [label, drawn, [...points]]),
    ]);
    return { frames, marks: this.#marks };
  }

  /** @param {object} saved what `save` gave */
  restore(saved) {
    this.#frames = new Map(
      saved.frames.map(([frame, lines]) => [
        frame,
        new Map(
          lines.map(([label, drawn, points]) => [label, { points: Float32Array.from(points), drawn }]),
        ),
      ]),
    );
    this.#marks = saved.marks;
  }

  #moved(points, weights, dx, dy) {
    const moved = new Float32Array(points.length);
    for (let i = 0; i < weights.length; i += 1) {
      const x = points[2 * i] + weights[i] * dx;
      const y = points[2 * i + 1] + weights[i] * dy;
      moved[2 * i] = Math.min(Math.max(x, 0), this.#size.columns - 1);
      moved[2 * i + 1] = Math.min(Math.max(y, 0), this.#size.rows - 1);
    }
    return moved;
  }

  #did(frame, before, after) {
    if (before !== after) this.#push({ frame, lines: [before, after] });
  }

  #push(step) {
    this.#undo.push(step);
    this.#redo = [];
  }

  #step(from, to, side) {
    const step = from.pop();
    if (!step) return null;
    if (step.lines) this.#put(step.frame, step.lines[side]);
    if (step.marks) this.#marks = step.marks[side];
    if (step.all) {
      this.#frames = new Map(step.all[side].frames);
      this.#marks = step.all[side].marks;
    }
    to.push(step);
    return step;
  }

  #put(frame, lines) {
    if (lines) this.#frames.set(frame, lines);
    else this.#frames.delete(frame);
  }
}

/** The nearest point of all contours; where two lie together, the lower label (the cavity). */
function nearest(standing, x, y) {
  let found = null;
  for (const [label, points] of standing) {
    for (let i = 0; i < points.length; i += 2) {
      const distance = Math.hypot(points[i] - x, points[i + 1] - y);
      if (!found || distance < found.distance - (found.label === label ? 0 : BESIDE)) {
        found = { label, index: i / 2, distance };
      }
    }
  }
  return found;
}

/** Gaussian weights along a closed line, 1 at `index`. */
function falloff(points, index) {
  const count = points.length / 2;
  const along = [0];
  for (let i = 0; i < count; i += 1) {
    const j = (i + 1) % count;
    along.push(
      along[i] + Math.hypot(points[2 * j] - points[2 * i], points[2 * j + 1] - points[2 * i + 1]),
    );
  }
  const length = along[count];
  const spread = Math.max(length * SOFTNESS, 1e-6);
  return Float32Array.from({ length: count }, (_, i) => {
    const straight = Math.abs(along[i] - along[index]);
    const weight = Math.exp(-((Math.min(straight, length - straight) / spread) ** 2) / 2);
    return weight < 0.01 ? 0 : weight;
  });
}

/** Weights for a neighbour's points: what the dragged line moves where it runs beside. */
function besides(points, line, weights) {
  const carried = new Float32Array(points.length / 2);
  let any = false;
  for (let i = 0; i < carried.length; i += 1) {
    carried[i] = weightBeside(points[2 * i], points[2 * i + 1], line, weights);
    any ||= carried[i] > 0;
  }
  return any ? carried : null;
}

function weightBeside(x, y, line, weights) {
  let best = BESIDE;
  let weight = 0;
  for (let i = 0; i < weights.length; i += 1) {
    const j = (i + 1) % weights.length;
    const [ax, ay] = [line[2 * i], line[2 * i + 1]];
    const [bx, by] = [line[2 * j] - ax, line[2 * j + 1] - ay];
    const square = bx * bx + by * by;
    const t = square ? Math.min(1, Math.max(0, ((x - ax) * bx + (y - ay) * by) / square)) : 0;
    const distance = Math.hypot(x - ax - t * bx, y - ay - t * by);
    if (distance < best) {
      best = distance;
      weight = weights[i] + t * (weights[j] - weights[i]);
    }
  }
  return weight;
}

function pairs(points) {
  const list = [];
  for (let i = 0; i < points.length; i += 2) {
    list.push([Math.round(points[i] * 8) / 8, Math.round(points[i + 1] * 8) / 8]);
  }
  return list;
}

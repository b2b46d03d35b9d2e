/** A correction being drawn: strokes on contours, every one undoable, carried to other frames. */

import { area } from './contours.js';
import { crosses, follower, moves, rolled, turned } from './shape.js';
import { TOOLS } from './tools.js';

/** How a line came to differ: taken along by a neighbour, drawn by hand, carried from a frame. */
const TAKEN = 0;
const DRAWN = 1;
const CARRIED = 2;

/**
 * @typedef {{points: Float32Array, how: number}} Line
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

  /** @returns {number[]} frames that differ */
  get frames() {
    return [...this.#frames.keys()].sort((a, b) => a - b);
  }

  /** @returns {number[]} frames that a hand was on: what is carried never changes these */
  get keys() {
    return this.frames.filter((frame) => this.#drawn(frame).length);
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

  /** @returns {boolean} whether a stroke is under way */
  get holding() {
    return this.#stroke !== null;
  }

  /** @returns {[number, number] | null} the point under the finger */
  get grabbed() {
    const { label, index } = this.#stroke?.stroke ?? {};
    if (index === undefined) return null;
    const points = this.at(this.#stroke.frame).get(label);
    return [points[2 * index], points[2 * index + 1]];
  }

  /** @returns {number[] | undefined} what a freehand stroke has drawn so far */
  get trace() {
    return this.#stroke?.stroke.trace;
  }

  /**
   * Take hold of a contour.
   * @param {number} frame
   * @param {string} tool
   * @param {import('./tools.js').Hold} hold
   * @returns {boolean} whether one is near enough
   */
  grab(frame, tool, hold) {
    const standing = this.at(frame);
    const stroke = TOOLS[tool](standing, hold);
    if (!stroke) return false;
    const line = standing.get(stroke.label);
    const beside = [...standing].filter(([label]) => label !== stroke.label);
    const followers = beside.map(([label, points]) => [label, follower(points, line)]);
    this.#stroke = { frame, stroke, followers, before: this.#frames.get(frame) };
    return true;
  }

  /**
   * Move what was grabbed.
   * @param {number} x
   * @param {number} y
   */
  drag(x, y) {
    if (this.#stroke) this.#take(this.#stroke.stroke.move(x, y));
  }

  /** Let go: the stroke becomes one step to undo. */
  drop() {
    const held = this.#stroke;
    if (!held) return;
    this.#take(held.stroke.end?.());
    this.#stroke = null;
    this.#did([[held.frame, held.before, this.#frames.get(held.frame)]]);
  }

  /** Let go as if it had not been grabbed. */
  cancel() {
    const held = this.#stroke;
    this.#stroke = null;
    if (held) this.#put(held.frame, held.before);
  }

  #take(points) {
    if (!points) return;
    const { frame, stroke, followers, before } = this.#stroke;
    const lines = new Map(before ?? []);
    lines.set(stroke.label, { points: this.#inside(points), how: DRAWN });
    this.#follow(lines, followers, lines.get(stroke.label).points);
    this.#frames.set(frame, lines);
  }

  #follow(lines, followers, moved) {
    for (const [label, follow] of followers) {
      const taken = follow(moved);
      const how = lines.get(label)?.how ?? TAKEN;
      if (taken) lines.set(label, { points: this.#inside(taken), how });
    }
  }

  /**
   * Give a frame back its base contours; one step to undo.
   * @param {number} frame
   */
  reset(frame) {
    const before = this.#frames.get(frame);
    this.#put(frame, undefined);
    this.#did([[frame, before, undefined]]);
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

  /**
   * Carry what was drawn on a frame to its neighbours, less and less with distance in time. Each
   * keeps the motion that the model saw: its own contour is moved, not replaced.
   * @param {number} frame
   * @param {(frame: number) => number} share of the movement that another frame takes, 0 to 1
   * @param {number} count frames of the loop
   * @returns {number} frames changed
   */
  spread(frame, share, count) {
    const wanted = new Map();
    for (let other = 0; other < count; other += 1) {
      if (other !== frame && share(other) > 0) wanted.set(other, [[frame, share(other)]]);
    }
    return this.#carry(frame, wanted);
  }

  /**
   * Carry what was drawn on frames to those that lie between two of them.
   * @returns {number} frames changed
   */
  between() {
    const { keys } = this;
    const wanted = new Map();
    for (let i = 1; i < keys.length; i += 1) {
      const [from, to] = [keys[i - 1], keys[i]];
      for (let frame = from + 1; frame < to; frame += 1) {
        const share = (frame - from) / (to - from);
        wanted.set(frame, [[from, 1 - share], [to, share]]);
      }
    }
    return this.#carry(keys[0], wanted);
  }

  #carry(frame, wanted) {
    const keys = new Set(this.keys);
    const changes = [];
    for (const [other, sources] of wanted) {
      if (keys.has(other)) continue;
      const before = this.#frames.get(other);
      const after = this.#carried(other, sources, before);
      if (after) changes.push([other, before, after]);
    }
    for (const [other, , after] of changes) this.#put(other, after);
    if (changes.length) this.#push({ frame, lines: changes });
    return changes.length;
  }

  #carried(frame, sources, before) {
    const base = this.#base(frame);
    const lines = new Map(before ?? []);
    const labels = new Set(sources.flatMap(([source]) => this.#drawn(source)));
    let any = false;
    for (const label of labels) {
      const own = base.get(label);
      if (!own) continue;
      const moved = own.slice();
      for (const [source, share] of sources) this.#add(moved, own, { source, label, share });
      const followers = [...base].filter(([other]) => !labels.has(other));
      lines.set(label, { points: this.#inside(moved), how: CARRIED });
      this.#follow(lines, followers.map(([other, points]) => [other, follower(points, own)]), moved);
      any = true;
    }
    return any ? lines : null;
  }

  /** Add what was drawn on a frame to a line of another: by each point's place along the contour. */
  #add(moved, own, { source, label, share }) {
    const line = this.#frames.get(source).get(label);
    const base = this.#base(source).get(label);
    if (!line || line.how !== DRAWN || !base) return;
    const shift = moves(base, line.points);
    const there = rolled(shift, -turned(base, own));
    for (let i = 0; i < moved.length; i += 1) moved[i] += share * there[i];
  }

  #drawn(frame) {
    return [...(this.#frames.get(frame) ?? [])].filter(([, { how }]) => how === DRAWN).map(([label]) => label);
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
      const drawn = [...lines].filter(([, { how }]) => how !== TAKEN);
      sent[frame] = Object.fromEntries(drawn.map(([label, { points }]) => [label, pairs(points)]));
    }
    return sent;
  }

  /** @returns {number | undefined} a frame on which what was drawn crosses itself */
  get crossed() {
    return this.frames.find((frame) =>
      [...this.#frames.get(frame).values()].some(({ points, how }) => how !== TAKEN && crosses(points)),
    );
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
      [...lines].map(([label, { points, how }]) => [label, how, Array.from(points, eighths)]),
    ]);
    return { frames, marks: this.#marks };
  }

  /** @param {object} saved what `save` gave */
  restore(saved) {
    const line = ([label, how, points]) => [label, { points: Float32Array.from(points), how: Number(how) }];
    this.#frames = new Map(saved.frames.map(([frame, lines]) => [frame, new Map(lines.map(line))]));
    this.#marks = saved.marks;
  }

  #inside(points) {
    const most = [this.#size.columns - 1, this.#size.rows - 1];
    return points.map((value, i) => Math.min(Math.max(value, 0), most[i % 2]));
  }

  #did(lines) {
    if (lines[0][1] !== lines[0][2]) this.#push({ frame: lines[0][0], lines });
  }

  /** @returns {number} steps of drawing that stand; those of an earlier visit are not known */
  get strokes() {
    return this.#undo.length;
  }

  #push(step) {
    this.#undo.push(step);
    this.#redo = [];
  }

  #step(from, to, side) {
    const step = from.pop();
    if (!step) return null;
    for (const [frame, ...sides] of step.lines ?? []) this.#put(frame, sides[side]);
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

/** Whole eighths of a pixel: the box draws no finer. */
function eighths(value) {
  return Math.round(value * 8) / 8;
}

function pairs(points) {
  const list = [];
  for (let i = 0; i < points.length; i += 2) list.push([eighths(points[i]), eighths(points[i + 1])]);
  return list;
}

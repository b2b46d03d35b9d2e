/** The geometry of closed lines: x, y, x, y… in source pixels, the last point joined to the first. */

import { area } from './contours.js';

const SOFTNESS = 0.055; // standard deviation of the falloff, as a share of the line's length
const BESIDE = 4; // source pixels: a neighbour's line this close to a moved one goes with it
const LOBE_PX = 16; // square source pixels: a smaller loop is a hand that trembled (`correcting.py`)

/**
 * @param {Float32Array} points
 * @returns {Float64Array} how far along the line each point lies; its whole length at the end
 */
export function along(points) {
  const count = points.length / 2;
  const found = new Float64Array(count + 1);
  for (let i = 0; i < count; i += 1) {
    const j = (i + 1) % count;
    const step = Math.hypot(points[2 * j] - points[2 * i], points[2 * j + 1] - points[2 * i + 1]);
    found[i + 1] = found[i] + step;
  }
  return found;
}

/**
 * @param {ArrayLike<number>} points of an open line
 * @param {number} count
 * @returns {Float32Array} that many points, evenly along it, both ends among them
 */
export function even(points, count) {
  const last = points.length / 2 - 1;
  const passed = [0];
  for (let i = 0; i < last; i += 1) {
    const [x, y] = [points[2 * i + 2] - points[2 * i], points[2 * i + 3] - points[2 * i + 1]];
    passed.push(passed[i] + Math.hypot(x, y));
  }
  const found = new Float32Array(2 * count);
  for (let i = 0, at = 0; i < count; i += 1) {
    const wanted = (passed[last] * i) / Math.max(1, count - 1);
    while (at < last - 1 && passed[at + 1] < wanted) at += 1;
    const next = Math.min(at + 1, last);
    const t = Math.min(1, (wanted - passed[at]) / Math.max(passed[next] - passed[at], 1e-9));
    for (const axis of [0, 1]) {
      const from = points[2 * at + axis];
      found[2 * i + axis] = from + t * (points[2 * next + axis] - from);
    }
  }
  return found;
}

/**
 * @param {Float32Array} points
 * @param {number} count
 * @returns {Float32Array} the closed line with that many points, evenly along it
 */
export function resample(points, count) {
  return even([...points, points[0], points[1]], count + 1).slice(0, 2 * count);
}

/**
 * The nearest point of all lines; where two lie together, the lower label (the cavity).
 * @param {Map<number, Float32Array>} lines
 * @param {number} x
 * @param {number} y
 * @returns {{label: number, index: number, distance: number} | null}
 */
export function nearest(lines, x, y) {
  let found = null;
  for (const [label, points] of lines) {
    for (let i = 0; i < points.length; i += 2) {
      const distance = Math.hypot(points[i] - x, points[i + 1] - y);
      if (!found || distance < found.distance - (found.label === label ? 0 : BESIDE)) {
        found = { label, index: i / 2, distance };
      }
    }
  }
  return found;
}

/**
 * @param {Float32Array} points
 * @param {number} x
 * @param {number} y
 * @returns {{index: number, t: number, distance: number}} the nearest place of a line: between
 *   which point and the next, how far from the one to the other, how far away
 */
export function project(points, x, y) {
  // Twenty thousand times for each measure while a finger moves: nothing is allocated on the way.
  const size = points.length;
  let [index, t, least] = [0, 0, Infinity];
  for (let i = 0; i < size; i += 2) {
    const j = i + 2 < size ? i + 2 : 0;
    const bx = points[j] - points[i];
    const by = points[j + 1] - points[i + 1];
    const dx = x - points[i];
    const dy = y - points[i + 1];
    const square = bx * bx + by * by;
    const share = square ? Math.min(1, Math.max(0, (dx * bx + dy * by) / square)) : 0;
    const away = (dx - share * bx) ** 2 + (dy - share * by) ** 2;
    if (away < least) [index, t, least] = [i / 2, share, away];
  }
  return { index, t, distance: Math.sqrt(least) };
}

/**
 * @param {Float32Array} points
 * @param {number} index
 * @returns {Float32Array} Gaussian weights along a line, 1 at `index`
 */
export function falloff(points, index) {
  const passed = along(points);
  const length = passed.at(-1);
  const spread = Math.max(length * SOFTNESS, 1e-6);
  return Float32Array.from({ length: points.length / 2 }, (_, i) => {
    const straight = Math.abs(passed[i] - passed[index]);
    const weight = Math.exp(-((Math.min(straight, length - straight) / spread) ** 2) / 2);
    return weight < 0.01 ? 0 : weight;
  });
}

/**
 * Where a line runs beside another one, so that it can be taken along with it.
 * @param {Float32Array} points the neighbour
 * @param {Float32Array} line the one that will move
 * @returns {(moved: Float32Array) => Float32Array | null} the neighbour once the line has moved;
 *   null when it stays
 */
export function follower(points, line) {
  const count = line.length / 2;
  const held = [];
  for (let i = 0; i < points.length / 2; i += 1) {
    const place = project(line, points[2 * i], points[2 * i + 1]);
    if (place.distance < BESIDE) held.push([i, place.index, (place.index + 1) % count, place.t]);
  }
  return (moved) => {
    if (moved.length !== line.length) return null;
    const taken = points.slice();
    let any = false;
    for (const [i, a, b, t] of held) {
      for (const axis of [0, 1]) {
        const here = moved[2 * a + axis] - line[2 * a + axis];
        const there = moved[2 * b + axis] - line[2 * b + axis];
        const shift = here + t * (there - here);
        taken[2 * i + axis] += shift;
        any ||= Math.abs(shift) > 0.01;
      }
    }
    return any ? taken : null;
  };
}

/**
 * Which point of one frame's line is which of another's: tracing begins at the topmost pixel, and
 * that moves from frame to frame.
 * @param {Float32Array} from
 * @param {Float32Array} to with as many points
 * @returns {number} point i of `from` is point i + this of `to`
 */
export function turned(from, to) {
  const count = from.length / 2;
  const [a, b] = [centred(from), centred(to)];
  let best = { shift: 0, cost: Infinity };
  for (let shift = 0; shift < count; shift += 1) {
    let cost = 0;
    for (let i = 0; i < count && cost < best.cost; i += 1) {
      const j = (i + shift) % count;
      cost += (a[2 * i] - b[2 * j]) ** 2 + (a[2 * i + 1] - b[2 * j + 1]) ** 2;
    }
    if (cost < best.cost) best = { shift, cost };
  }
  return best.shift;
}

function centred(points) {
  const mean = [0, 0];
  points.forEach((value, i) => (mean[i % 2] += (2 * value) / points.length));
  return points.map((value, i) => value - mean[i % 2]);
}

/**
 * How far each point of a line was moved by hand.
 * @param {Float32Array} base
 * @param {Float32Array} drawn with any number of points
 * @returns {Float32Array} x, y, x, y… as many as of `base`
 */
export function moves(base, drawn) {
  let after = drawn;
  if (drawn.length !== base.length) {
    const fresh = resample(drawn, base.length / 2);
    after = rolled(fresh, turned(base, fresh));
  }
  return base.map((value, i) => after[i] - value);
}

/**
 * @param {Float32Array} points
 * @param {number} shift
 * @returns {Float32Array} point i + shift in the place of point i
 */
export function rolled(points, shift) {
  const size = points.length;
  return points.map((_, i) => points[(i + 2 * shift + size) % size]);
}

/**
 * Whether a closed line cuts a loop off itself that is large enough to be seen; as the box tells it.
 * @param {Float32Array} points
 * @returns {boolean}
 */
export function crosses(points) {
  const count = points.length / 2;
  const at = (i) => points.subarray(2 * (i % count), 2 * (i % count) + 2);
  const side = ([ax, ay], [bx, by], [x, y]) => (bx - ax) * (y - ay) - (by - ay) * (x - ax);
  for (let i = 0; i < count; i += 1) {
    const [a, b] = [at(i), at(i + 1)];
    for (let j = i + 2; j < count; j += 1) {
      const [c, d] = [at(j), at(j + 1)];
      const [from, to] = [side(a, b, c), side(a, b, d)];
      if (from * to >= 0 || side(c, d, a) * side(c, d, b) >= 0) continue;
      const share = from / (from - to);
      const cut = [c[0] + share * (d[0] - c[0]), c[1] + share * (d[1] - c[1])];
      const inner = points.slice(2 * i + 2, 2 * j + 2);
      const outer = [...points.slice(2 * j + 2), ...points.slice(0, 2 * i + 2)];
      if ([inner, outer].every((part) => area([...cut, ...part]) > LOBE_PX)) return true;
    }
  }
  return false;
}

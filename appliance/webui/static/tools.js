/**
 * What a finger can do to a contour. Each tool takes hold of a line and gives a stroke: where the
 * line goes as the finger moves.
 */

import { along, even, falloff, nearest, project } from './shape.js';

const FEWEST = 8; // points that a line keeps
const NEAR = 3; // radii of the brush: it acts on the nearest line no further away

/**
 * @typedef {object} Hold where the finger came down
 * @property {number} x
 * @property {number} y
 * @property {number} reach in source pixels
 * @property {number} [size] the brush's radius, in source pixels
 * @property {number} [label] the line to take, instead of the nearest
 * @property {number} [index] its point to take, instead of the nearest
 *
 * @typedef {object} Stroke
 * @property {number} label
 * @property {number} [index] the point under the finger, while it keeps its place in the line
 * @property {(x: number, y: number) => Float32Array | null} move the line now; null: as it was
 * @property {() => Float32Array | null} [end] the line once the finger is lifted, if other
 * @property {number[]} [trace] what has been drawn so far, x, y, x, y…
 */

/** @type {Record<string, (lines: Map<number, Float32Array>, hold: Hold) => Stroke | null>} */
export const TOOLS = { drag, redraw, brush, move, add, remove };

function taken(lines, { x, y, reach, label, index }) {
  if (label !== undefined) return { label, index, distance: 0 };
  const found = nearest(lines, x, y);
  return found && found.distance <= reach ? found : null;
}

function drag(lines, hold) {
  const found = taken(lines, hold);
  return found && weighted(lines, hold, found, falloff(lines.get(found.label), found.index));
}

function move(lines, hold) {
  const found = taken(lines, hold);
  const count = found && lines.get(found.label).length / 2;
  return found && weighted(lines, hold, found, new Float32Array(count).fill(1));
}

function weighted(lines, { x: startX, y: startY }, { label, index }, weights) {
  const points = lines.get(label);
  return {
    label,
    index,
    move: (x, y) => points.map((value, i) => value + weights[i >> 1] * (i % 2 ? y - startY : x - startX)),
  };
}

/** A new point on the line, which goes with the finger alone. */
function add(lines, hold) {
  const found = taken(lines, { ...hold, reach: 2 * hold.reach });
  if (!found) return null;
  const points = lines.get(found.label);
  const { index, distance } = project(points, hold.x, hold.y);
  if (distance > hold.reach) return null;
  const cut = 2 * index + 2;
  let [atX, atY] = [hold.x, hold.y];
  const put = (x, y) => {
    [atX, atY] = [x, y];
    return Float32Array.of(...points.subarray(0, cut), x, y, ...points.subarray(cut));
  };
  return { label: found.label, index: index + 1, move: put, end: () => put(atX, atY) };
}

/** The nearest point of the line goes, as soon as it is touched. */
function remove(lines, hold) {
  const found = taken(lines, hold);
  const points = found && lines.get(found.label);
  if (!found || points.length / 2 <= FEWEST) return null;
  const rest = points.filter((_, i) => i >> 1 !== found.index);
  return { label: found.label, move: () => rest, end: () => rest };
}

/** Freehand: the stretch of the line between where the finger came down and left is drawn anew. */
function redraw(lines, hold) {
  const found = taken(lines, hold);
  if (!found) return null;
  const points = lines.get(found.label);
  const trace = [hold.x, hold.y];
  return {
    label: found.label,
    trace,
    move: (x, y) => {
      trace.push(x, y);
      return null;
    },
    end: () => spliced(points, found.index, trace),
  };
}

function spliced(points, first, trace) {
  const count = points.length / 2;
  const last = project(points, trace.at(-2), trace.at(-1)).index;
  const drawn = openLength(trace);
  const whole = along(points).at(-1);
  let stretch;
  if (first === last) {
    if (drawn < whole / 2) return null; // a dot, or back where it came from
    stretch = Array.from({ length: count }, (_, i) => (first + i) % count);
    if (turns(trace) !== turns(points)) stretch.reverse();
  } else {
    const there = walk(first, last, 1, count);
    const back = walk(first, last, -1, count);
    stretch = away(points, there, trace) <= away(points, back, trace) ? there : back;
  }
  const fresh = even(trace, stretch.length);
  const line = points.slice();
  stretch.forEach((index, i) => line.set(fresh.subarray(2 * i, 2 * i + 2), 2 * index));
  return line;
}

function walk(first, last, step, count) {
  const found = [first];
  while (found.at(-1) !== last) found.push((found.at(-1) + step + count) % count);
  return found;
}

function away(points, stretch, trace) {
  let sum = 0;
  for (const index of stretch) {
    let best = Infinity;
    for (let i = 0; i < trace.length; i += 2) {
      best = Math.min(best, Math.hypot(points[2 * index] - trace[i], points[2 * index + 1] - trace[i + 1]));
    }
    sum += best;
  }
  return sum / stretch.length;
}

function openLength(trace) {
  let sum = 0;
  for (let i = 2; i < trace.length; i += 2) sum += Math.hypot(trace[i] - trace[i - 2], trace[i + 1] - trace[i - 1]);
  return sum;
}

function turns(points) {
  let twice = 0;
  for (let i = 0; i < points.length; i += 2) {
    const j = (i + 2) % points.length;
    twice += points[i] * points[j + 1] - points[j] * points[i + 1];
  }
  return twice > 0;
}

/** A disk that pushes the line before it: out from inside, in from outside. */
function brush(lines, hold) {
  const size = Math.max(hold.size ?? hold.reach, 1);
  const found = taken(lines, { ...hold, reach: NEAR * size });
  if (!found) return null;
  let points = lines.get(found.label);
  let [atX, atY] = [hold.x, hold.y];
  return {
    label: found.label,
    move: (x, y) => {
      const steps = Math.max(1, Math.ceil((2 * Math.hypot(x - atX, y - atY)) / size));
      for (let i = 1; i <= steps; i += 1) {
        points = pushed(points, atX + ((x - atX) * i) / steps, atY + ((y - atY) * i) / steps, size);
      }
      [atX, atY] = [x, y];
      return points;
    },
  };
}

function pushed(points, x, y, size) {
  const line = points.slice();
  for (let i = 0; i < line.length; i += 2) {
    const [dx, dy] = [line[i] - x, line[i + 1] - y];
    const distance = Math.hypot(dx, dy);
    if (distance >= size || distance === 0) continue;
    line[i] = x + (dx * size) / distance;
    line[i + 1] = y + (dy * size) / distance;
  }
  return line;
}

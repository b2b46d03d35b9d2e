/**
 * Volumes that follow the hand: the box's own measures of the model's contours, changed by as much
 * as the contour on the screen differs from the model's. What counts is measured on the box.
 *
 * Simpson's disks and area-length, one plane (ASE/EACVI 2015), as `appliance/measures` has them.
 */

import { area } from './contours.js';
import { t } from './language.js';
import { along, project, resample } from './shape.js';

const [LV, MYOCARDIUM, LA] = [1, 2, 3];
const DISKS = 20;
const CUTS = 4; // chords of each disk
const TOUCHING = 2.5; // source pixels between two lines that run along one border
const FINE = 360; // points of an outline while the annulus is looked for
const FEWEST = 5; // of those that make a base
const EF_RANGE = [5, 90];
const [SLENDER, LENGTHENS] = [1.2, 1.03]; // beyond, the ventricle looks foreshortened

const NBSP = '\u00a0';

/** The volumes of one loop while it is being corrected. */
export class Sizes {
  #analysis;
  #aspect;
  #model;
  #known = new Map();
  #drawn = new Map();

  /**
   * @param {object} analysis as the box describes it: `sizes`, `mm_per_px`
   * @param {number} aspect height of a source pixel over its width
   * @param {(frame: number) => Map<number, Float32Array>} model the model's contours
   */
  constructor(analysis, aspect, model) {
    this.#analysis = analysis;
    this.#aspect = aspect;
    this.#model = model;
  }

  /**
   * What the panel shows while a contour is drawn.
   * @param {import('./editor.js').Editor} editor
   * @param {object} corrected the annotation that is: its `marks`, its `numbers` as the box words
   *   them
   * @returns {object} the numbers, with what has changed
   */
  numbers(editor, { marks, numbers }) {
    const { ed, es } = { ...marks, ...editor.marks };
    if (ed === undefined || es === undefined || !this.#analysis.sizes.length) return numbers;
    const shown = { ...numbers, spread: '', lines: [numbers.lines[0] ?? ''] };
    const drawn = editor.frames.some((frame) => frame === ed || frame === es);
    // Of frames that nobody drew on, the box's own figures stand: it rounds once more often.
    if (!drawn && ed === marks.ed && es === marks.es) return shown;
    const [diastole, systole] = [ed, es].map((frame) => this.#frame(frame, editor.at(frame)));
    const ef = ejection(diastole, systole);
    const scale = ef === null ? null : this.#analysis.mm_per_px;
    return {
      ...shown,
      ef: ef === null ? '–' : `${ef.toFixed(0)} %`,
      volumes: scale ? volumes(diastole, systole, scale ** 3 / 1000) : [],
      why: ef === null ? [t('No EF with these contours.')] : shown.why,
    };
  }

  /** A frame's heart as drawn, by the box's measure of the model's. */
  #frame(frame, lines) {
    const found = this.#measured(frame, lines);
    const size = this.#analysis.sizes[frame];
    if (!size) return { ...found, cut: false, laCut: false };
    const [volume, atrium, cut, laCut] = size;
    const model = this.#modelled(frame);
    return {
      ...found,
      volume: found.volume * (volume && model.volume ? volume / model.volume : 1),
      atrium: found.atrium * (atrium && model.atrium ? atrium / model.atrium : 1),
      cut: Boolean(cut),
      laCut: Boolean(laCut),
    };
  }

  /** One of the two frames is not under the finger. */
  #measured(frame, lines) {
    const before = this.#drawn.get(frame);
    const same = before?.lines.size === lines.size && [...lines].every(([label, line]) => before.lines.get(label) === line);
    if (!same) this.#drawn.set(frame, { lines, found: heart(lines, this.#aspect) });
    return this.#drawn.get(frame).found;
  }

  #modelled(frame) {
    if (!this.#known.has(frame)) this.#known.set(frame, heart(this.#model(frame), this.#aspect));
    return this.#known.get(frame);
  }
}

function ejection(diastole, systole) {
  if (!diastole.volume || !systole.volume || diastole.cut || systole.cut) return null;
  const ef = 100 * (1 - systole.volume / diastole.volume);
  const ball = diastole.length < SLENDER * diastole.width;
  const odd = ball || systole.length > LENGTHENS * diastole.length;
  return odd || ef < EF_RANGE[0] || ef > EF_RANGE[1] ? null : ef;
}

function volumes(diastole, systole, ml) {
  const found = [
    [t('EDV'), diastole.volume],
    [t('ESV'), systole.volume],
    [t('SV'), diastole.volume - systole.volume],
  ];
  if (systole.atrium && !systole.laCut) found.push([t('LA'), systole.atrium]);
  return found.map(([name, value]) => `${name}${NBSP}${(value * ml).toFixed(0)}${NBSP}ml`);
}

/**
 * @param {Map<number, Float32Array>} lines
 * @param {number} aspect
 * @returns {{volume: number, length: number, width: number, atrium: number}} in source columns;
 *   0 where there is no ventricle, no base, no atrium
 */
export function heart(lines, aspect) {
  const square = (label) => lines.get(label)?.map((value, i) => (i % 2 ? value * aspect : value));
  const [cavity, wall, atrium] = [LV, MYOCARDIUM, LA].map(square);
  const none = { volume: 0, length: 0, width: 0, atrium: 0 };
  if (!cavity) return none;
  const fine = resample(cavity, FINE);
  const base = mitral(fine, wall, atrium);
  if (!base) return none;
  const apex = farthest(fine, base);
  const length = Math.hypot(apex[0] - base[0], apex[1] - base[1]) + 1;
  const disks = diameters(cavity, base, apex, length);
  const sum = disks.reduce((total, d) => total + d * d, 0);
  return {
    volume: (Math.PI / 4) * (length / DISKS) * sum,
    length,
    width: Math.max(...disks),
    atrium: atrium ? atrial(atrium, cavity, base) : 0,
  };
}

/** Middle of the annulus: where the cavity meets the atrium, else where it has no wall. */
function mitral(fine, wall, atrium) {
  const touching = atrium ? chosen(fine, (x, y) => project(atrium, x, y).distance <= TOUCHING) : [];
  if (touching.length / 2 >= FEWEST) return middle(touching);
  const open = wall ? chosen(fine, (x, y) => project(wall, x, y).distance > TOUCHING) : fine;
  return open.length / 2 >= FEWEST ? middle(open) : null;
}

function chosen(points, keep) {
  const found = [];
  for (let i = 0; i < points.length; i += 2) {
    if (keep(points[i], points[i + 1])) found.push(points[i], points[i + 1]);
  }
  return found;
}

/** Middle of the chord between the two ends of a stretch. */
function middle(points) {
  const mean = [0, 0];
  points.forEach((value, i) => (mean[i % 2] += (2 * value) / points.length));
  const one = farthest(points, mean);
  const other = farthest(points, one);
  return [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
}

function farthest(points, [x, y]) {
  let [found, best] = [[x, y], -1];
  for (let i = 0; i < points.length; i += 2) {
    const distance = Math.hypot(points[i] - x, points[i + 1] - y);
    if (distance > best) [found, best] = [[points[i], points[i + 1]], distance];
  }
  return found;
}

/** Mean width of each slice across the long axis, from base to apex. */
function diameters(line, base, apex, length) {
  const span = Math.max(length - 1, 1e-9);
  const [ux, uy] = [(apex[0] - base[0]) / span, (apex[1] - base[1]) / span];
  const places = [];
  for (let i = 0; i < line.length; i += 2) {
    const [x, y] = [line[i] - base[0], line[i + 1] - base[1]];
    places.push([x * ux + y * uy + 0.5, y * ux - x * uy]);
  }
  return Array.from({ length: DISKS }, (_, disk) => {
    let sum = 0;
    for (let cut = 0; cut < CUTS; cut += 1) {
      sum += chord(places, ((disk + (cut + 0.5) / CUTS) * length) / DISKS);
    }
    return sum / CUTS;
  });
}

function chord(places, at) {
  const crossings = [];
  places.forEach(([along0, across0], i) => {
    const [along1, across1] = places[(i + 1) % places.length];
    if (along0 <= at === along1 <= at) return;
    crossings.push(across0 + ((at - along0) / (along1 - along0)) * (across1 - across0));
  });
  crossings.sort((a, b) => a - b);
  let width = 0;
  // A line runs through the outermost pixels' centres: half a pixel lies beyond at each end.
  for (let i = 1; i < crossings.length; i += 2) width += crossings[i] - crossings[i - 1] + 1;
  return width;
}

function atrial(atrium, cavity, base) {
  const fine = resample(atrium, FINE);
  const mouth = chosen(fine, (x, y) => project(cavity, x, y).distance <= TOUCHING);
  const from = mouth.length / 2 >= FEWEST ? middle(mouth) : base;
  const roof = farthest(fine, from);
  const length = Math.hypot(roof[0] - from[0], roof[1] - from[1]) + 1;
  // Pick's theorem: the pixels whose centres the line runs through count whole.
  const whole = area(atrium) + along(atrium).at(-1) / 2 + 1;
  return (8 * whole * whole) / (3 * Math.PI * length);
}

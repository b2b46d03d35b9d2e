/** Contours as vectors over the image, sharp at any size; image and contours zoom together. */

const LINE = 2.5;
const FILL_ALPHA = 0.18;
const DASH = [7, 6];
const MODEL_DASH = [4, 4];
const MOST = 8; // times the size that fits
const QUIET = '#9AA5B1';
const FONT = '14px system-ui, sans-serif';

/** Of 255: below it a contour is dashed. */
export const CERTAIN = 153;
/** Every so many points one to take hold of is shown. */
export const HANDLE_EVERY = 4;

/** Lays image and overlay over each other and draws contours in source coordinates. */
export class Overlay {
  #still;
  #hand = null;
  #context;
  #images;
  #place = { left: 0, top: 0, x: 1, y: 1, ratio: 1 };
  #zoom = { factor: 1, x: 0, y: 0 };

  /**
   * @param {HTMLElement} stage what holds both canvases
   * @param {HTMLCanvasElement[]} images the frame; the first lies in the stage, any other beside it
   * @param {HTMLCanvasElement} overlay
   * @param {{columns: number, rows: number, aspect: number}} size source pixels; height of a pixel
   *   over its width
   */
  constructor(stage, images, overlay, size) {
    this.#context = this.#still = overlay.getContext('2d');
    this.#images = images;
    this.stage = stage;
    this.size = size;
    this.scene = { shapes: [] };
    /** How strong contours are drawn, 0 to 1. */
    this.strength = 1;
    /** Side of a source column in mm; null without a trusted calibration. */
    this.mmPerPx = null;
    this.onZoom = () => {};
    new ResizeObserver(() => this.fit()).observe(stage);
    this.fit();
  }

  /** @returns {number} times the size that fits */
  get zoomed() {
    return this.#zoom.factor;
  }

  /** Fit the image into the stage, at the zoom that was chosen, and draw again. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const { columns, rows, aspect } = this.size;
    const scale = Math.min(width / columns, height / (rows * aspect)) * this.#zoom.factor;
    const shown = { width: columns * scale, height: rows * aspect * scale };
    const left = (width - shown.width) / 2 + this.#kept('x', shown.width - width);
    const top = (height - shown.height) / 2 + this.#kept('y', shown.height - height);
    for (const { style } of this.#images) {
      style.left = `${left}px`;
      style.top = `${top}px`;
      style.width = `${shown.width}px`;
      style.height = `${shown.height}px`;
    }
    const ratio = window.devicePixelRatio || 1;
    this.#place = { left, top, x: scale, y: scale * aspect, ratio };
    this.#spread(this.#still.canvas);
    if (this.#hand) this.#spread(this.#hand.canvas);
    this.draw(this.scene);
  }

  /** Give a canvas as many pixels as it covers; one that has them keeps what is on it. */
  #spread(canvas) {
    const { clientWidth, clientHeight } = this.stage;
    const size = [clientWidth, clientHeight].map((side) => Math.round(side * this.#place.ratio));
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  }

  /**
   * Choose what is drawn on. Under a finger it is a canvas of its own, which waits for no frame of
   * the page, and has the browser hand over each move at once. Beside a picture that plays it would
   * be ahead of it.
   * @param {boolean} held
   */
  #choose(held) {
    if (held === Boolean(this.#hand)) return;
    const { canvas } = this.#still;
    if (held) {
      const above = document.createElement('canvas');
      above.id = 'hand';
      above.ariaHidden = 'true';
      this.#spread(above);
      canvas.after(above);
      this.#context = this.#hand = above.getContext('2d', { desynchronized: true });
      this.#still.clearRect(0, 0, canvas.width, canvas.height);
    } else {
      this.#hand.canvas.remove();
      this.#hand = null;
      this.#context = this.#still;
    }
  }

  /** The image never leaves the stage: it is moved as far as it juts out. */
  #kept(axis, juts) {
    const most = Math.max(0, juts / 2);
    this.#zoom[axis] = Math.min(most, Math.max(-most, this.#zoom[axis]));
    return this.#zoom[axis];
  }

  /**
   * Zoom; what lies at a place stays there.
   * @param {number} by
   * @param {{clientX: number, clientY: number}} [at] the stage's middle where absent
   */
  zoom(by, at) {
    const box = this.stage.getBoundingClientRect();
    const { factor, x, y } = this.#zoom;
    const next = Math.min(MOST, Math.max(1, factor * by));
    const [dx, dy] = at
      ? [at.clientX - box.left - box.width / 2, at.clientY - box.top - box.height / 2]
      : [0, 0];
    const grown = next / factor;
    this.#zoom = { factor: next, x: dx - (dx - x) * grown, y: dy - (dy - y) * grown };
    this.fit();
    this.onZoom(next);
  }

  /**
   * Move the image in the stage.
   * @param {number} x CSS pixels
   * @param {number} y
   */
  pan(x, y) {
    this.#zoom.x += x;
    this.#zoom.y += y;
    this.fit();
  }

  /** @returns {number} CSS pixels of one source column */
  get scale() {
    return this.#place.x;
  }

  /**
   * Where a pointer is, in source pixels (pixel centres are whole numbers).
   * @param {{clientX: number, clientY: number}} event
   * @returns {[number, number]}
   */
  toSource(event) {
    const box = this.stage.getBoundingClientRect();
    const { left, top, x, y } = this.#place;
    return [
      (event.clientX - box.left - left) / x - 0.5,
      (event.clientY - box.top - top) / y - 0.5,
    ];
  }

  /**
   * @param {object} scene
   * @param {{points: Float32Array, colour: string, certain?: Uint8Array}[]} scene.shapes contours,
   *   filled and lined; dashed where they are not certain
   * @param {{points: Float32Array, colour: string}[]} [scene.under] thin dashed lines
   * @param {boolean} [scene.held] whether a finger may draw, and nothing plays
   * @param {boolean} [scene.handles] whether points to grab are shown
   * @param {[number, number] | null} [scene.grabbed] the point under the finger
   * @param {number[]} [scene.trace] what a finger draws freehand, x, y, x, y…
   * @param {{x: number, y: number, size: number} | null} [scene.brush]
   * @param {{from: number[], to: number[]} | null} [scene.caliper]
   */
  draw(scene) {
    this.scene = scene;
    this.#choose(Boolean(scene.held));
    const context = this.#context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.scale(this.#place.ratio, this.#place.ratio);
    context.lineJoin = 'round';
    for (const shape of scene.under ?? []) this.#outline(shape, 1, MODEL_DASH);
    for (const shape of scene.shapes) this.#fill(shape);
    // The first structure, the cavity, lies on top where two lines run together.
    for (const shape of [...scene.shapes].reverse()) this.#line(shape);
    if (scene.handles) for (const shape of scene.shapes) this.#handles(shape);
    if (scene.trace) this.#stroke(this.#path(scene.trace, false), '#fff', 2, []);
    if (scene.grabbed) this.#ring(scene.grabbed, 10);
    if (scene.brush) this.#ring([scene.brush.x, scene.brush.y], scene.brush.size * this.#place.x);
    if (this.mmPerPx) this.#scale();
    if (scene.caliper) this.#caliper(scene.caliper);
  }

  #x(column) {
    return this.#place.left + (column + 0.5) * this.#place.x;
  }

  #y(row) {
    return this.#place.top + (row + 0.5) * this.#place.y;
  }

  #path(points, closed = true) {
    const path = new Path2D();
    for (let i = 0; i < points.length; i += 2) path.lineTo(this.#x(points[i]), this.#y(points[i + 1]));
    if (closed) path.closePath();
    return path;
  }

  #fill({ points, colour }) {
    this.#context.globalAlpha = FILL_ALPHA * this.strength;
    this.#context.fillStyle = colour;
    this.#context.fill(this.#path(points));
    this.#context.globalAlpha = 1;
  }

  #line({ points, colour, certain }) {
    const doubtful = certain?.some((value) => value < CERTAIN);
    if (!doubtful) {
      this.#outline({ points, colour }, LINE, []);
      return;
    }
    const [solid, dashed] = [new Path2D(), new Path2D()];
    const count = points.length / 2;
    for (let i = 0; i < count; i += 1) {
      const j = (i + 1) % count;
      const path = Math.min(certain[i], certain[j]) < CERTAIN ? dashed : solid;
      path.moveTo(this.#x(points[2 * i]), this.#y(points[2 * i + 1]));
      path.lineTo(this.#x(points[2 * j]), this.#y(points[2 * j + 1]));
    }
    this.#context.globalAlpha = this.strength;
    this.#stroke(solid, colour, LINE, []);
    this.#stroke(dashed, colour, LINE, DASH);
    this.#context.globalAlpha = 1;
  }

  #outline({ points, colour }, width, dash) {
    this.#context.globalAlpha = this.strength;
    this.#stroke(this.#path(points), colour, width, dash);
    this.#context.globalAlpha = 1;
  }

  #stroke(path, colour, width, dash) {
    this.#context.setLineDash(dash);
    this.#context.lineWidth = width;
    this.#context.strokeStyle = colour;
    this.#context.stroke(path);
    this.#context.setLineDash([]);
  }

  #handles({ points, colour }) {
    const context = this.#context;
    context.fillStyle = '#0B0D10';
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    for (let i = 0; i < points.length; i += 2 * HANDLE_EVERY) {
      const [x, y] = [this.#x(points[i]), this.#y(points[i + 1])];
      context.moveTo(x + 4, y);
      context.arc(x, y, 4, 0, 2 * Math.PI);
    }
    context.fill();
    context.stroke();
  }

  #ring([column, row], radius) {
    const path = new Path2D();
    path.arc(this.#x(column), this.#y(row), radius, 0, 2 * Math.PI);
    this.#stroke(path, '#fff', 2, []);
  }

  /** Ticks a centimetre apart up the left edge, every fifth one longer. */
  #scale() {
    const { clientHeight: height } = this.stage;
    const left = Math.max(0, this.#x(0)) + 4;
    const step = (10 / this.mmPerPx) * this.#place.x;
    if (step < 1) return; // a stage without height: no ticks, and no end to them
    const top = Math.max(0, this.#y(0));
    const bottom = Math.min(height, this.#y(this.size.rows));
    const path = new Path2D();
    for (let i = 0, y = bottom; y >= top; i += 1, y = bottom - i * step) {
      path.moveTo(left, y);
      path.lineTo(left + (i % 5 ? 6 : 14), y);
    }
    this.#stroke(path, QUIET, 1, []);
    this.#context.fillStyle = QUIET;
    this.#context.font = FONT;
    this.#context.textAlign = 'left';
    this.#context.fillText('cm', left + 18, bottom - 4);
  }

  /**
   * @param {{from: number[], to: number[]}} caliper source pixels
   * @returns {number} how far apart its ends are
   */
  millimetres({ from, to }) {
    return Math.hypot(to[0] - from[0], (to[1] - from[1]) * this.size.aspect) * this.mmPerPx;
  }

  #caliper(caliper) {
    const { from, to } = caliper;
    const path = this.#path([...from, ...to], false);
    this.#stroke(path, '#000', 4, []);
    this.#stroke(path, '#fff', 2, []);
    for (const end of [from, to]) this.#ring(end, 4);
    const context = this.#context;
    const text = `${this.millimetres(caliper).toFixed(0)} mm`;
    context.font = `600 ${FONT}`;
    context.textAlign = 'left';
    context.lineWidth = 4;
    context.strokeStyle = '#000';
    const place = [this.#x(to[0]) + 12, this.#y(to[1]) - 12];
    context.strokeText(text, ...place);
    context.fillStyle = '#fff';
    context.fillText(text, ...place);
  }
}

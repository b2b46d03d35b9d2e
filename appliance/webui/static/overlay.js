/** Contours as vectors over the image, sharp at any size. */

const LINE = 2.5;
const FILL_ALPHA = 0.18;
const DASH = [7, 6];
const CERTAIN = 153; // of 255: below it a contour is dashed
const HANDLE_EVERY = 4;

/** Lays image and overlay over each other and draws contours in source coordinates. */
export class Overlay {
  #context;
  #place = { left: 0, top: 0, x: 1, y: 1, ratio: 1 };

  /**
   * @param {HTMLElement} stage what holds both canvases
   * @param {HTMLCanvasElement} image
   * @param {HTMLCanvasElement} overlay
   * @param {{columns: number, rows: number, aspect: number}} size source pixels; height of a pixel
   *   over its width
   */
  constructor(stage, image, overlay, size) {
    this.#context = overlay.getContext('2d');
    this.stage = stage;
    this.image = image;
    this.size = size;
    this.scene = { shapes: [] };
    new ResizeObserver(() => this.fit()).observe(stage);
    this.fit();
  }

  /** Fit the image into the stage and draw again. */
  fit() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    const { columns, rows, aspect } = this.size;
    const scale = Math.min(width / columns, height / (rows * aspect));
    const shown = { width: columns * scale, height: rows * aspect * scale };
    const left = (width - shown.width) / 2;
    const top = (height - shown.height) / 2;
    Object.assign(this.image.style, {
      left: `${left}px`,
      top: `${top}px`,
      width: `${shown.width}px`,
      height: `${shown.height}px`,
    });
    const ratio = window.devicePixelRatio || 1;
    const { canvas } = this.#context;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    this.#place = { left, top, x: scale, y: scale * aspect, ratio };
    this.draw(this.scene);
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
   * Where a source point is on the page.
   * @param {number} column
   * @param {number} row
   * @returns {[number, number]} client x and y
   */
  toClient(column, row) {
    const box = this.stage.getBoundingClientRect();
    const { left, top, x, y } = this.#place;
    return [box.left + left + (column + 0.5) * x, box.top + top + (row + 0.5) * y];
  }

  /**
   * @param {object} scene
   * @param {{points: Float32Array, colour: string, certain?: Uint8Array}[]} scene.shapes contours,
   *   filled and lined; dashed where they are not certain
   * @param {{points: Float32Array, colour: string}[]} [scene.under] thin dashed lines
   * @param {boolean} [scene.handles] whether points to grab are shown
   * @param {[number, number] | null} [scene.grabbed] the point under the finger
   */
  draw(scene) {
    this.scene = scene;
    const context = this.#context;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    context.scale(this.#place.ratio, this.#place.ratio);
    context.lineJoin = 'round';
    for (const shape of scene.under ?? []) this.#outline(shape, 1, [4, 4]);
    for (const shape of scene.shapes) this.#fill(shape);
    // The first structure, the cavity, lies on top where two lines run together.
    for (const shape of [...scene.shapes].reverse()) this.#line(shape);
    if (scene.handles) for (const shape of scene.shapes) this.#handles(shape);
    if (scene.grabbed) this.#ring(scene.grabbed);
  }

  #x(column) {
    return this.#place.left + (column + 0.5) * this.#place.x;
  }

  #y(row) {
    return this.#place.top + (row + 0.5) * this.#place.y;
  }

  #path(points) {
    const path = new Path2D();
    for (let i = 0; i < points.length; i += 2) path.lineTo(this.#x(points[i]), this.#y(points[i + 1]));
    path.closePath();
    return path;
  }

  #fill({ points, colour }) {
    this.#context.globalAlpha = FILL_ALPHA;
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
    this.#stroke(solid, colour, LINE, []);
    this.#stroke(dashed, colour, LINE, DASH);
  }

  #outline({ points, colour }, width, dash) {
    this.#stroke(this.#path(points), colour, width, dash);
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
    for (let i = 0; i < points.length; i += 2 * HANDLE_EVERY) {
      context.beginPath();
      context.arc(this.#x(points[i]), this.#y(points[i + 1]), 4, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  #ring([column, row]) {
    const context = this.#context;
    context.strokeStyle = '#fff';
    context.lineWidth = 2;
    context.beginPath();
    context.arc(this.#x(column), this.#y(row), 10, 0, 2 * Math.PI);
    context.stroke();
  }
}

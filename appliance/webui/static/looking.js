/** How the loop is looked at: zoom, two panes, how strong the contours are, a beat, distances. */

const byId = (id) => document.getElementById(id);
const STEP = 1.25; // zoom by key or button
const PAN_PX = 48;
const STRENGTHS = { least: 10, most: 100, step: 10 }; // percent

/** The controls that change nothing but the view. */
export class Looking {
  #view;

  /** @param {import('./view.js').View} view */
  constructor(view) {
    this.#view = view;
    this.measuring = false;
    const click = (id, action) => byId(id).addEventListener('click', action);
    click('panes', () => this.togglePanes());
    click('ruler', () => this.toggleRuler());
    click('beat', () => this.toggleBeat());
    click('fit', () => this.zoom(0));
    click('step-back', () => view.player.seek(view.player.frame - 1));
    click('step-on', () => view.player.seek(view.player.frame + 1));
    byId('strength').addEventListener('input', () => this.#strengthen());
    view.overlay.onZoom = (factor) => (byId('fit').hidden = factor === 1);
    this.tell();
  }

  /** Write what there is to look at: no ruler without a trusted scale, no beat without one. */
  tell() {
    const { state, shown } = this.#view;
    byId('ruler').hidden = !state.analysis?.mm_per_px;
    byId('ruler').title = state.analysis?.no_scale ?? '';
    byId('beat').disabled = !shown?.beats.length;
  }

  /**
   * @param {1 | 0 | -1} way in, to fit, or out
   */
  zoom(way) {
    const { overlay } = this.#view;
    overlay.zoom(way === 0 ? 1 / overlay.zoomed : STEP ** way);
  }

  /**
   * Move the zoomed image.
   * @param {number} x
   * @param {number} y
   */
  pan(x, y) {
    this.#view.overlay.pan(x * PAN_PX, y * PAN_PX);
  }

  /** Show the picture without contours beside the one with them, or don't. */
  togglePanes() {
    const bare = byId('bare');
    bare.hidden = !bare.hidden;
    byId('panes').setAttribute('aria-pressed', String(!bare.hidden));
    this.#view.copyImage();
    this.#view.overlay.fit();
  }

  /** Play one beat over and over, or the whole loop. */
  toggleBeat() {
    if (byId('beat').disabled) return;
    const only = this.#view.player.range === null;
    this.#view.loopBeat(only);
    byId('beat').setAttribute('aria-pressed', String(only));
    if (only) this.#view.player.play();
  }

  /** Measure distances with the next strokes, or don't. */
  toggleRuler() {
    if (byId('ruler').hidden) return;
    this.measuring = !this.measuring;
    byId('ruler').setAttribute('aria-pressed', String(this.measuring));
    document.body.classList.toggle('measuring', this.measuring);
    this.#lay(null);
    if (this.measuring) this.#view.player.pause();
    this.#view.draw();
  }

  /**
   * @param {number} x source pixels
   * @param {number} y
   */
  measureFrom(x, y) {
    this.#lay({ from: [x, y], to: [x, y] });
    this.#view.drawContours();
  }

  /**
   * @param {number} x source pixels
   * @param {number} y
   */
  measureTo(x, y) {
    this.#lay({ ...this.#view.caliper, to: [x, y] });
    this.#view.drawContours();
  }

  /** Where its ends lie, or null for nowhere; said in numbers too, for who can't see a line. */
  #lay(caliper) {
    this.#view.caliper = caliper;
    const surface = byId('overlay');
    if (!caliper) return void delete surface.dataset.mm;
    const mm = this.#view.overlay.millimetres(caliper);
    surface.dataset.mm = mm.toFixed(1);
    byId('words').textContent = `${mm.toFixed(0)} mm`;
  }

  /**
   * Draw contours stronger or weaker.
   * @param {1 | -1} way
   */
  strengthen(way) {
    const slider = byId('strength');
    const { least, most, step } = STRENGTHS;
    slider.value = String(Math.min(most, Math.max(least, Number(slider.value) + way * step)));
    this.#strengthen();
  }

  #strengthen() {
    this.#view.overlay.strength = Number(byId('strength').value) / STRENGTHS.most;
    this.#view.drawContours();
  }
}

/** What is on the screen: one frame, one annotation, and the places that tell about them. */

import { getBytes, persist } from './api.js';
import { Certainty, Contours, read } from './contours.js';
import { Curve } from './curve.js';
import { t } from './language.js';
import { CERTAIN, Overlay } from './overlay.js';
import * as panel from './panel.js';
import { Player } from './player.js';

const byId = (id) => document.getElementById(id);
const SPEEDS = [1, 0.5, 0.25];
const SPEED_WORDS = { 1: '1×', 0.5: '½×', 0.25: '¼×' };
const FOLLOWS_MS = 100; // numbers follow a finger so often: faster nobody reads

/** The viewer without its decisions. */
export class View {
  #contours = new Map();
  #shown = '';
  #begin;
  #doubts = [];
  #sizes = null;
  #first = null;
  #follows = 0;

  /** @param {object} state the loop as the box describes it */
  constructor(state) {
    this.state = state;
    this.hidden = false;
    this.modelLine = true;
    this.editor = null;
    /** The brush's ring while one is held; the caliper's ends while there is one. */
    this.brush = null;
    this.caliper = null;
    /** The point that the keyboard holds. */
    this.picked = null;
    this.onFrame = () => {};
    /** Another annotation is chosen, and once more when its contours have come. */
    this.onShow = () => {};
    this.onUndo = () => {};
    /** Makes what tells volumes while a contour is drawn: see `sizes.js`. */
    this.measures = () => null;
    /** Resolves when image and contours first stand together. */
    this.begun = new Promise((resolve) => (this.#begin = resolve));
    const size = { columns: state.columns, rows: state.rows, aspect: state.aspect };
    const images = [byId('image'), byId('original')];
    this.overlay = new Overlay(byId('pane'), images, byId('overlay'), size);
    this.curve = new Curve(byId('scrubber'), (frame) => this.player.seek(frame));
    this.player = new Player(byId('image'), state.durations, {
      onShow: () => {
        this.copyImage();
        this.draw();
      },
      onState: () => this.#tellPlaying(),
    });
    this.#shown = this.latest;
    if (state.first) {
      const labels = this.structures.map(({ label }) => label);
      this.#first = { id: this.#shown, lines: read(state.first, labels) };
    }
    this.tell();
  }

  /** @returns {string} id of the annotation in force */
  get latest() {
    return this.state.annotations.findLast(({ stands }) => stands)?.id ?? '';
  }

  /** @returns {object | undefined} the annotation on the image */
  get shown() {
    return this.state.annotations.find(({ id }) => id === this.#shown);
  }

  /** @returns {boolean} whether a picture and the contours of what is shown have come */
  get visible() {
    return this.player.pictured && this.#contours.has(this.#shown);
  }

  /** @returns {{label: number, name: string, colour: string}[]} */
  get structures() {
    return this.state.analysis?.structures ?? [];
  }

  /**
   * Take the box's newer description of the same loop.
   * @param {object} state
   */
  async renew(state) {
    const followed = this.#shown === this.latest;
    this.state = state;
    this.#sizes = this.#first = null;
    if (followed && !this.editor) this.#shown = this.latest;
    for (const id of [...this.#contours.keys()]) {
      const known = state.annotations.find((item) => item.id === id);
      if (known?.contours !== this.#contours.get(id).url) this.#contours.delete(id);
    }
    await this.load();
    this.tell();
  }

  /** Fetch the contours of the shown annotation, and those that may lie under them. */
  async load() {
    const ids = [this.#shown, 'model', this.editor && this.latest];
    const wanted = this.state.annotations.filter(({ id }) => ids.includes(id));
    await Promise.all(wanted.map((item) => this.#fetch(item)));
    this.draw();
  }

  /**
   * Put an annotation on the image.
   * @param {string} id
   */
  async show(id) {
    this.#shown = id;
    this.tell();
    this.onShow();
    await this.load();
    this.onShow();
  }

  /** @param {boolean} hidden whether contours are left out of the image */
  hide(hidden) {
    this.hidden = hidden;
    byId('hide').setAttribute('aria-pressed', String(hidden));
    this.draw();
  }

  /**
   * @param {number} frame
   * @param {string} [id] of an annotation
   * @returns {Map<number, Float32Array>} its contours, as far as they have come
   */
  contoursAt(frame, id = this.#shown) {
    const come = this.#contours.get(id)?.contours.at(frame);
    return come ?? (frame === 0 && id === this.#first?.id ? this.#first.lines : new Map());
  }

  /** Show the picture beside the contours too, where two panes are open. */
  copyImage() {
    if (byId('bare').hidden) return;
    byId('original').getContext('2d', { alpha: false }).drawImage(byId('image'), 0, 0);
  }

  /** Draw the overlay anew and tell which frame stands; the image stays. */
  draw() {
    const { frame } = this.player;
    this.drawContours();
    this.curve.at(frame);
    this.#tellFrame(frame);
    this.onFrame(frame);
  }

  /** Draw the overlay alone: all that may be done between two moves of a finger. */
  drawContours() {
    const { frame } = this.player;
    const standing = this.editor?.at(frame) ?? this.contoursAt(frame);
    this.overlay.draw({
      shapes: this.hidden ? [] : this.#doubted(standing, frame),
      under: this.hidden || !this.modelLine ? [] : this.#under(frame),
      held: Boolean(this.editor) && !this.player.playing,
      handles: Boolean(this.editor),
      grabbed: this.editor?.grabbed ?? this.picked,
      trace: this.editor?.trace,
      brush: this.editor ? this.brush : null,
      caliper: this.caliper,
    });
    if (standing.size) this.#tellFirst();
  }

  /** Have numbers and curve follow what a finger draws, a moment behind it. */
  follow() {
    this.#follows ||= setTimeout(() => {
      this.#follows = 0;
      this.#tellNumbers();
      this.#tellCurve();
    }, FOLLOWS_MS);
  }

  #tellNumbers() {
    const { state, shown, editor } = this;
    const place = byId('numbers');
    place.hidden = !shown;
    if (!shown) return;
    if (!editor?.changed) {
      place.style.minHeight = '';
      panel.numbers(place, shown.numbers, '');
      // What is drawn says less: nothing below moves at the first stroke.
      if (editor) place.style.minHeight = `${place.offsetHeight}px`;
      return;
    }
    this.#sizes ??= this.measures(state, (frame) => this.contoursAt(frame, 'model'));
    const numbers = this.#sizes.numbers(editor, shown);
    panel.numbers(place, numbers, t('As drawn. Measured by the box when you save.'));
  }

  /** Write every word and number anew. */
  tell() {
    const { state, shown } = this;
    // Other loops' thumbnails wait until this loop's first picture is there.
    if (document.body.dataset.firstMs || !state.urls.frames || !shown) {
      panel.rail(byId('rail'), state.loops, state.seq);
    }
    const undo = state.undoable || state.retractable ? () => this.onUndo() : null;
    const show = (id) => this.show(id);
    panel.annotations(byId('annotations'), state.annotations, this.#shown, show, undo);
    panel.deliveries(byId('deliveries'), state.deliveries);
    panel.legend(byId('legend'), this.structures);
    byId('legend').hidden = !this.editor && !state.analysis?.legend;
    this.overlay.mmPerPx = state.analysis?.mm_per_px ?? null;
    this.#tellNumbers();
    panel.beside(byId('beside'), shown ? state.beside : { earlier: [] });
    byId('words').textContent = this.#wordsAt(this.player?.frame ?? 0);
    byId('told').hidden = Boolean(this.editor) || !state.annotations.length;
    byId('tools').hidden = !this.editor;
    byId('previous').disabled = !state.previous;
    byId('next').disabled = !state.next;
    this.#tellCurve();
  }

  /** Draw the curve with what is being corrected in it. */
  #tellCurve() {
    const { shown, editor, state } = this;
    const cavity = state.analysis?.cavity;
    const values = [...(shown?.curve ?? [])];
    const corrected = new Set(this.#corrected);
    for (const frame of editor?.frames ?? []) {
      if (typeof values[frame] === 'number') values[frame] *= editor.growth(frame, cavity);
    }
    this.curve.set({
      values,
      frames: state.frames,
      marks: { ...shown?.marks, ...editor?.marks },
      beats: shown?.beats ?? [],
      corrected: [...corrected],
      doubts: this.#doubts.map((share, frame) => (corrected.has(frame) ? 0 : share)),
      looped: this.player?.range,
      unit: shown?.unit ?? '',
    });
  }

  get #corrected() {
    return this.editor ? this.editor.frames : (this.shown?.corrected ?? []);
  }

  /** @returns {[number, number] | null} first and last frame of the beat that stands, if any */
  get beat() {
    const { shown, player } = this;
    const beats = [...(shown?.beats ?? [])].sort((a, b) => a.ed - b.ed);
    const place = Math.max(0, beats.findLastIndex(({ ed }) => ed <= player.frame));
    const [here, next] = [beats[place], beats[place + 1]];
    if (!here) return null;
    if (next) return [here.ed, next.ed - 1];
    // The last one ends where the ventricle is largest again.
    const after = shown.curve.map((area, frame) => (frame > Math.max(here.es, here.ed) ? (area ?? 0) : -1));
    const end = after.indexOf(Math.max(...after));
    return [here.ed, Math.max(end, Math.min(here.ed + 1, player.count - 1))];
  }

  /**
   * Play one beat over and over, or the whole loop.
   * @param {boolean} only
   */
  loopBeat(only) {
    this.player.range = only ? this.beat : null;
    this.#tellCurve();
  }

  /** Go through the speeds. */
  nextSpeed() {
    const next = (SPEEDS.indexOf(this.player.speed) + 1) % SPEEDS.length;
    this.player.speed = SPEEDS[next];
    byId('speed').textContent = SPEED_WORDS[SPEEDS[next]];
  }

  async #fetch({ id, contours: url, certainty, corrected }) {
    if (this.#contours.get(id)?.url === url) return;
    const labels = this.structures.map(({ label }) => label);
    const bytes = await persist(() => getBytes(url));
    const contours = new Contours(bytes, labels);
    this.#contours.set(id, { url, contours });
    // What a person drew is not the model's to doubt; nobody waits for the dashes.
    if (corrected.length) return;
    getBytes(certainty).then((answer) => {
      const known = this.#contours.get(id);
      if (known?.url !== url) return;
      known.certainty = new Certainty(answer, labels);
      if (id === 'model') this.#doubts = shares(known.certainty, labels);
      this.#tellCurve();
      if (!this.player.playing) this.drawContours();
    }, () => {});
  }

  #shapes(standing) {
    return this.structures
      .filter(({ label }) => standing.has(label))
      .map(({ label, colour }) => ({ points: standing.get(label), colour }));
  }

  /** The shapes of what is shown, with how certain the model is of its own. */
  #doubted(standing, frame) {
    const certainty = this.editor ? undefined : this.#contours.get(this.#shown)?.certainty;
    const labels = this.structures.filter(({ label }) => standing.has(label));
    return this.#shapes(standing).map((shape, place) => ({
      ...shape,
      certain: certainty?.at(frame, labels[place].label),
    }));
  }

  /** The model's lines where a person drew others; under a correction what stands meanwhile. */
  #under(frame) {
    const theirs = this.editor && this.#shown !== this.latest;
    if (!theirs && !this.#corrected.includes(frame)) return [];
    return this.#shapes(this.contoursAt(frame, theirs ? this.latest : 'model'));
  }

  /** Say once when image and contours first stand together. */
  #tellFirst() {
    if (document.body.dataset.firstMs || this.player.readable === undefined) return;
    document.body.dataset.firstMs = performance.now().toFixed(1);
    this.#begin();
    panel.rail(byId('rail'), this.state.loops, this.state.seq);
  }

  #tellFrame(frame) {
    byId('at').textContent = `${frame + 1} / ${this.state.frames}`;
    document.body.dataset.frame = String(frame);
    document.body.dataset.dropped = String(this.player.dropped);
    if (!this.player.readable) byId('words').textContent = t('This frame can’t be read.');
    else byId('words').textContent = this.player.playing ? this.state.words : this.#wordsAt(frame);
  }

  /** What stands below the image: why a frame's contours are doubtful, when nothing else does. */
  #wordsAt(frame) {
    return this.state.words || (this.editor ? '' : (this.shown?.doubts[frame] ?? ''));
  }

  #tellPlaying() {
    const { playing } = this.player;
    const [sign, word] = byId('play').children;
    sign.textContent = playing ? '❚❚' : '▶';
    word.textContent = playing ? t('Pause') : t('Play');
    document.body.dataset.playing = String(playing);
    if (this.editor) this.drawContours(); // on the other canvas
  }
}

/** Which share of each frame's contour points is uncertain, 0 to 1. */
function shares(certainty, labels) {
  return Array.from({ length: certainty.frames }, (_, frame) => {
    const values = labels.flatMap((label) => [...(certainty.at(frame, label) ?? [])]);
    return values.filter((value) => value < CERTAIN).length / Math.max(1, values.length);
  });
}

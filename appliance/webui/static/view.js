/** What is on the screen: one frame, one annotation, and the places that tell about them. */

import { getBytes, persist } from './api.js';
import { Certainty, Contours } from './contours.js';
import { Curve } from './curve.js';
import { Overlay } from './overlay.js';
import * as panel from './panel.js';
import { Player } from './player.js';

const byId = (id) => document.getElementById(id);
const SPEEDS = [1, 0.5, 0.25];
const SPEED_WORDS = { 1: '1×', 0.5: '½×', 0.25: '¼×' };

/** The viewer without its decisions. */
export class View {
  #contours = new Map();
  #shown = '';
  #begin;

  /** @param {object} state the loop as the box describes it */
  constructor(state) {
    this.state = state;
    this.hidden = false;
    this.modelLine = true;
    this.editor = null;
    this.onFrame = () => {};
    this.onUndo = () => {};
    /** Resolves when image and contours first stand together. */
    this.begun = new Promise((resolve) => (this.#begin = resolve));
    const size = { columns: state.columns, rows: state.rows, aspect: state.aspect };
    this.overlay = new Overlay(byId('stage'), byId('image'), byId('overlay'), size);
    this.curve = new Curve(byId('scrubber'), (frame) => this.player.seek(frame));
    this.player = new Player(byId('image'), state.durations, {
      onShow: () => this.draw(),
      onState: () => this.#tellPlaying(),
    });
    this.#shown = this.latest;
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
    if (followed && !this.editor) this.#shown = this.latest;
    for (const id of [...this.#contours.keys()]) {
      const known = state.annotations.find((item) => item.id === id);
      if (known?.contours !== this.#contours.get(id).url) this.#contours.delete(id);
    }
    await this.load();
    this.tell();
  }

  /** Fetch the contours of the shown annotation, and the model's, which may lie under them. */
  async load() {
    const wanted = this.state.annotations.filter(({ id }) => id === this.#shown || id === 'model');
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
    await this.load();
  }

  /**
   * @param {number} frame
   * @param {string} [id] of an annotation
   * @returns {Map<number, Float32Array>} its contours, as far as they have come
   */
  contoursAt(frame, id = this.#shown) {
    return this.#contours.get(id)?.contours.at(frame) ?? new Map();
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
      handles: Boolean(this.editor),
      grabbed: this.editor?.grabbed,
    });
    if (standing.size) this.#tellFirst();
  }

  /** Write every word and number anew. */
  tell() {
    const { state, shown } = this;
    // Other loops' thumbnails wait until this loop's first picture is there.
    if (document.body.dataset.firstMs || !state.urls.frames || !shown) {
      panel.rail(byId('rail'), state.loops, state.seq);
    }
    const undo = state.undoable ? () => this.onUndo() : null;
    const show = (id) => this.show(id);
    panel.annotations(byId('annotations'), state.annotations, this.#shown, show, undo);
    panel.deliveries(byId('deliveries'), state.deliveries);
    panel.legend(byId('legend'), this.structures);
    const note = this.editor?.changed ? 'Worked out anew when you save.' : '';
    if (shown) panel.numbers(byId('numbers'), shown.numbers, note);
    byId('numbers').hidden = !shown;
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
    const values = (shown?.curve ?? []).map((value, frame) =>
      value === null || !editor ? value : value * editor.growth(frame, cavity),
    );
    this.curve.set({
      values,
      frames: state.frames,
      marks: { ...shown?.marks, ...editor?.marks },
      beats: shown?.beats ?? [],
      corrected: editor ? editor.frames : (shown?.corrected ?? []),
      unit: shown?.unit ?? '',
    });
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
      if (known?.url === url) known.certainty = new Certainty(answer, labels);
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

  #under(frame) {
    const corrected = this.editor ? this.editor.frames : (this.shown?.corrected ?? []);
    return corrected.includes(frame) ? this.#shapes(this.contoursAt(frame, 'model')) : [];
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
    if (!this.player.readable) byId('words').textContent = 'This frame can’t be read.';
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
    word.textContent = playing ? 'Pause' : 'Play';
    document.body.dataset.playing = String(playing);
  }
}

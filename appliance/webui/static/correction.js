/** The Correct mode: the right column becomes tools, every stroke is kept here and on the box. */

import { load } from './drafts.js';
import { Editor } from './editor.js';
import { Keeper } from './keeping.js';
import { n, t } from './language.js';
import { HANDLE_EVERY } from './overlay.js';
import { Sizes } from './sizes.js';

const byId = (id) => document.getElementById(id);
const SPREAD_MS = 200; // a correction fades away within this time before and after
const FEWEST_SPREAD = 2; // frames each way, however slow the loop
const NUDGE_PX = 1; // source pixels by key
const BRUSH = { least: 6, most: 60, step: 3 }; // radius in source pixels

/** Drawing a correction of the annotation that is shown. */
export class Correction {
  #view;
  #onChange;
  #may;
  #complain;
  #keeper;
  #picked = -1;
  #left = null; // the editor and its steps, for who comes back to the same contours

  /**
   * @param {import('./view.js').View} view
   * @param {() => void} onChange called when it begins, changes or ends
   * @param {() => boolean} may whether anything may be changed now
   * @param {(sentence: string) => void} complain
   */
  constructor(view, onChange, may, complain) {
    this.#view = view;
    this.#onChange = onChange;
    this.#may = may;
    this.#complain = complain;
    view.measures = ({ analysis, aspect }, model) => new Sizes(analysis, aspect, model);
    this.tool = 'drag';
    this.boxed = false;
    this.#keeper = new Keeper(view.state.seq, (kept, { draft, said }) => {
      this.boxed = kept;
      if (draft) {
        this.#left.editor.restore(draft);
        complain(said);
      }
      this.#redraw();
    });
    this.#wire();
  }

  /** @returns {boolean} whether something was drawn or marked; whether a finger draws now */
  get changed() {
    return Boolean(this.#view.editor?.changed);
  }

  get drawing() {
    return Boolean(this.#view.editor) && this.#may();
  }

  /** Begin with what is shown, and with what was drawn on it before a reload. */
  begin() {
    if (!this.#view.editor && this.#may()) this.#open(load(this.#view.state.analysis.sha256));
  }

  #open(draft) {
    const view = this.#view;
    view.player.pause();
    view.hide(false);
    this.base = view.shown;
    const { id } = this.base;
    const of = `${view.state.analysis.sha256} ${id}`;
    if (this.#left?.of !== of) {
      this.#left = { of, editor: new Editor((frame) => view.contoursAt(frame, id), view.state) };
      if (draft?.base === id) this.#left.editor.restore(draft);
    }
    view.editor = this.#left.editor;
    document.body.classList.add('correcting');
    this.choose(this.tool);
    this.#changed(draft === null);
  }

  /** Leave the tools. */
  leave() {
    this.#view.editor = null;
    this.#view.brush = null;
    this.#pick(-1);
    document.body.classList.remove('correcting');
    this.#redraw();
  }

  /** Take everything back, or leave when nothing is drawn: no work is lost by one tap. */
  back() {
    if (!this.#may()) return;
    const { length } = this.#view.editor.frames;
    if (!this.changed) this.leave();
    else if (length < 2) this.#clear();
    else {
      byId('back-title').textContent = t('Take back the drawings on {length} frames?', { length });
      byId('back-dialog').showModal();
    }
  }

  #clear() {
    byId('back-dialog').close();
    if (!this.drawing) return;
    this.#view.editor.clear();
    this.#changed();
  }

  /** Take up what was drawn before a reload, on this tablet or on another. */
  async restore() {
    const { state } = this.#view;
    if (state.blocked || !state.analysis?.sha256) return;
    const draft = await this.#keeper.load(state.analysis.sha256);
    if (!draft || !state.annotations.some(({ id }) => id === draft.base)) return;
    await this.#view.show(draft.base);
    this.#open(draft);
    const [first] = this.#view.editor.frames;
    if (first !== undefined) this.#view.player.seek(first);
  }

  /** A decision is on its way: the box forgets the drawing with it. */
  decided() {
    this.#keeper.stop();
  }

  /** The box has taken a decision: of what was drawn nothing is left to be saved. */
  taken() {
    this.#left = null;
    if (this.#view.editor) this.leave();
  }

  /** @param {(decision: string, body: object) => void} decide gets the correction as the box takes it */
  save(decide) {
    const { editor, player } = this.#view;
    const { crossed } = editor;
    if (crossed !== undefined) {
      player.seek(crossed);
      const told = t('On frame {number} a contour crosses itself.', { number: crossed + 1 });
      return this.#complain(`${told} ${t('Draw it anew there, or take it back.')}`);
    }
    const { ed = null, es = null } = { ...this.base.marks, ...editor.marks };
    const frames = { ed_frame: ed, es_frame: es, contours: editor.contours() };
    decide('corrected', { base_review: this.base.review ?? null, ...frames, strokes: editor.strokes });
  }

  /** Take one step back, or take it again. */
  undo() {
    if (this.#may()) this.#go(this.#view.editor?.undo());
  }

  redo() {
    if (this.#may()) this.#go(this.#view.editor?.redo());
  }

  /**
   * Name the frame that stands as ED or ES.
   * @param {'ed' | 'es'} what
   */
  mark(what) {
    if (!this.#may()) return;
    this.begin();
    this.#view.editor.mark(what, this.#view.player.frame);
    this.#changed();
  }

  /**
   * Choose what a finger does.
   * @param {string} tool
   */
  choose(tool) {
    this.tool = tool;
    for (const button of document.querySelectorAll('[data-tool]')) {
      button.setAttribute('aria-pressed', String(button.dataset.tool === tool));
    }
    byId('brush-size').hidden = tool !== 'brush';
    if (tool !== 'brush') this.hover(-1, -1);
  }

  /**
   * Make the brush larger or smaller.
   * @param {1 | -1} way
   */
  resize(way) {
    const { least, most, step } = BRUSH;
    byId('brush').value = String(Math.min(most, Math.max(least, this.#size + way * step)));
    const { columns, rows } = this.#view.state;
    const at = this.#view.brush ?? { x: columns / 2, y: rows / 2 };
    this.hover(at.x, at.y);
  }

  get #size() {
    return byId('brush').valueAsNumber;
  }

  /**
   * Show the brush where a pointer is; nothing for any other tool.
   * @param {number} x source pixels
   * @param {number} y
   */
  hover(x, y) {
    const view = this.#view;
    const before = view.brush;
    view.brush = view.editor && this.tool === 'brush' && x >= 0 ? { x, y, size: this.#size } : null;
    if (before || view.brush) view.drawContours();
  }

  /**
   * Take hold of a contour.
   * @param {number} x source pixels
   * @param {number} y
   * @param {number} reach
   * @returns {boolean} whether one is near enough
   */
  grab(x, y, reach) {
    const view = this.#view;
    if (view.player.playing) {
      view.player.pause();
      return false;
    }
    this.#pick(-1);
    const took = view.editor.grab(view.player.frame, this.tool, { x, y, reach, size: this.#size });
    if (took) this.drag(x, y);
    return took;
  }

  /**
   * Follow the finger.
   * @param {number} x source pixels
   * @param {number} y
   */
  drag(x, y) {
    const view = this.#view;
    if (!this.#may()) return;
    view.editor?.drag(x, y);
    if (this.tool === 'brush') view.brush = { x, y, size: this.#size };
    view.drawContours();
    view.follow();
  }

  /** Let go. */
  drop() {
    if (!this.#view.editor) return;
    this.#view.editor.drop();
    this.#changed();
  }

  /** Let go as if nothing had been held. */
  cancel() {
    this.#view.editor?.cancel();
    this.#view.draw();
  }

  /**
   * Take the next or the last point by the keyboard.
   * @param {1 | -1} way
   */
  step(way) {
    if (!this.drawing) return;
    const count = this.#handles().length;
    if (count) this.#pick((Math.max(this.#picked, way < 0 ? 0 : -1) + way + count) % count);
    this.#view.drawContours();
  }

  /**
   * Move the point that the keyboard holds, as the tool moves it.
   * @param {number} x
   * @param {number} y
   */
  nudge(x, y) {
    const { editor, player } = this.#view;
    const handle = this.#handles()[this.#picked];
    if (!this.drawing || !handle) return;
    const tool = this.tool === 'move' ? 'move' : 'drag';
    const [atX, atY] = handle.at;
    editor.grab(player.frame, tool, { x: atX, y: atY, reach: 0, ...handle });
    editor.drag(atX + x * NUDGE_PX, atY + y * NUDGE_PX);
    editor.drop();
    this.#pick(this.#picked);
    this.#changed();
  }

  #handles() {
    const { editor, player } = this.#view;
    return [...editor.at(player.frame)].flatMap(([label, points]) =>
      Array.from({ length: Math.ceil(points.length / 2 / HANDLE_EVERY) }, (_, i) => {
        const index = i * HANDLE_EVERY;
        return { label, index, at: [points[2 * index], points[2 * index + 1]] };
      }),
    );
  }

  #pick(place) {
    this.#picked = place;
    this.#view.picked = place < 0 ? null : (this.#handles()[place]?.at ?? null);
  }

  /** Carry what was drawn on the frame that stands to its neighbours, fading with time. */
  spread() {
    const { editor, player, state } = this.#view;
    if (!this.drawing) return;
    const rate = (1000 * state.frames) / state.durations.reduce((sum, ms) => sum + ms, 0);
    const reach = Math.max(FEWEST_SPREAD, Math.round((SPREAD_MS * rate) / 1000));
    const share = (frame) => {
      const apart = Math.abs(frame - player.frame) / (reach + 1);
      return apart < 1 ? (1 + Math.cos(Math.PI * apart)) / 2 : 0;
    };
    editor.spread(player.frame, share, state.frames);
    this.#changed();
  }

  /** Carry what was drawn on frames to all that lie between them. */
  between() {
    if (!this.drawing) return;
    this.#view.editor.between();
    this.#changed();
  }

  /** Give the frame that stands back its contours. */
  reset() {
    if (!this.drawing || byId('reset').disabled) return;
    this.#view.editor.reset(this.#view.player.frame);
    this.#changed();
  }

  #go(step) {
    if (!step) return;
    if (step.frame !== null) this.#view.player.seek(step.frame);
    this.#changed();
  }

  /** @param {boolean} [fresh] nothing was drawn yet: there is nothing to forget on the box */
  #changed(fresh = false) {
    const { editor, state } = this.#view;
    const draft = editor.changed ? { base: this.base.id, ...editor.save(), at: Date.now() } : null;
    const { newest_review, analysis } = state;
    if (fresh) this.#redraw();
    else this.#keeper.store({ analysis_sha256: analysis.sha256, newest_review, draft });
  }

  #redraw() {
    this.#view.tell();
    this.#view.draw();
    this.#onChange();
  }

  /** Write which tools can be used now. */
  tell() {
    const { editor, player } = this.#view;
    if (!editor) return;
    const may = this.#may();
    const { frames, keys } = editor;
    for (const id of ['set-ed', 'set-es', 'back-out']) byId(id).disabled = !may;
    byId('undo').disabled = !may || !editor.canUndo;
    byId('redo').disabled = !may || !editor.canRedo;
    byId('back-out').textContent = editor.changed ? t('Take all back') : t('Leave');
    byId('reset').disabled = !may || !frames.includes(player.frame);
    byId('spread').disabled = !may || !keys.includes(player.frame);
    byId('between').disabled = !may || keys.length < 2 || keys.at(-1) - keys[0] < keys.length;
    byId('changed').textContent = editor.changed ? this.#told(frames.length) : t('Nothing changed yet.');
  }

  #told(count) {
    const here = this.#keeper.kept ? t('Kept on this tablet until you save.') : t('Not kept: save soon.');
    const kept = this.boxed ? t('Kept on the box until you save.') : here;
    const changed = n('1 frame changed.', '{count} frames changed.', count);
    return `${changed} ${this.#view.state.superseded ? t('Can’t be saved any more.') : kept}`;
  }

  #wire() {
    const click = (id, action) => byId(id).addEventListener('click', action);
    click('undo', () => this.undo());
    click('redo', () => this.redo());
    click('set-ed', () => this.mark('ed'));
    click('set-es', () => this.mark('es'));
    click('back-out', () => this.back());
    click('take-back', () => this.#clear());
    click('keep-drawn', () => byId('back-dialog').close());
    click('reset', () => this.reset());
    click('spread', () => this.spread());
    click('between', () => this.between());
    click('hide-model', () => this.toggleModelLine());
    byId('brush').addEventListener('input', () => this.resize(0));
    // The page goes with a finger down: the stroke so far is kept on the tablet.
    addEventListener('pagehide', () => this.#view.editor?.holding && this.drop());
    for (const button of document.querySelectorAll('[data-tool]')) {
      button.addEventListener('click', () => this.choose(button.dataset.tool));
    }
  }

  /** Show the model's line under the correction, or don't. */
  toggleModelLine() {
    const view = this.#view;
    view.modelLine = !view.modelLine;
    byId('hide-model').setAttribute('aria-pressed', String(view.modelLine));
    view.draw();
  }
}

/** The Correct mode: the right column becomes tools, every stroke is kept on this tablet. */

import * as drafts from './drafts.js';
import { Editor } from './editor.js';
import * as pointer from './pointer.js';

const byId = (id) => document.getElementById(id);

/** Drawing a correction of the annotation that is shown. */
export class Correction {
  #view;
  #onChange;
  #may;

  /**
   * @param {import('./view.js').View} view
   * @param {() => void} onChange called when it begins, changes or ends
   * @param {() => boolean} may whether anything may be changed now
   */
  constructor(view, onChange, may) {
    this.#view = view;
    this.#onChange = onChange;
    this.#may = may;
    pointer.drag(byId('overlay'), view.overlay, {
      may: () => Boolean(view.editor) && may(),
      grab: (x, y, reach) => this.#grab(x, y, reach),
      drag: (x, y) => {
        if (!may()) return;
        view.editor.drag(x, y);
        view.drawContours();
      },
      drop: () => {
        view.editor.drop();
        this.#changed();
      },
      cancel: () => {
        view.editor.cancel();
        view.draw();
      },
      tap: () => view.player.toggle(),
    });
    this.#wire();
  }

  /** @returns {boolean} whether something was drawn or marked */
  get changed() {
    return Boolean(this.#view.editor?.changed);
  }

  /** Begin with what is shown, and with what was drawn on it before a reload. */
  begin() {
    if (!this.#view.editor && this.#may()) this.#open();
  }

  #open() {
    const view = this.#view;
    view.player.pause();
    view.hidden = false;
    this.base = view.shown;
    view.editor = new Editor((frame) => view.contoursAt(frame, this.base.id), view.state);
    const draft = drafts.load(view.state.analysis.sha256);
    if (draft?.base === this.base.id) view.editor.restore(draft);
    document.body.classList.add('correcting');
    this.#changed();
  }

  /** Leave the tools. */
  leave() {
    this.#view.editor = null;
    document.body.classList.remove('correcting');
    this.#view.tell();
    this.#view.draw();
    this.#onChange();
  }

  /** Take everything back, or leave when nothing is drawn: no work is lost by one tap. */
  back() {
    if (!this.#may()) return;
    if (!this.changed) this.leave();
    else {
      this.#view.editor.clear();
      this.#changed();
    }
  }

  /** Take up what was drawn before a reload. */
  async restore() {
    const { state } = this.#view;
    if (state.blocked) return;
    const draft = state.analysis?.sha256 && drafts.load(state.analysis.sha256);
    if (!draft || !state.annotations.some(({ id }) => id === draft.base)) return;
    await this.#view.show(draft.base);
    this.#open();
    const first = this.#view.editor.frames[0];
    if (first !== undefined) this.#view.player.seek(first);
  }

  /** @returns {object} the correction as the box takes it */
  body() {
    const { editor } = this.#view;
    const marks = { ...this.base.marks, ...editor.marks };
    return {
      base_review: this.base.review ?? null,
      ed_frame: marks.ed ?? null,
      es_frame: marks.es ?? null,
      contours: editor.contours(),
    };
  }

  /** Take one step back. */
  undo() {
    if (this.#may()) this.#go(this.#view.editor?.undo());
  }

  /** Take the step again. */
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

  #grab(x, y, reach) {
    const view = this.#view;
    if (view.player.playing) {
      view.player.pause();
      return false;
    }
    const took = view.editor.grab(view.player.frame, x, y, reach);
    if (took) view.draw();
    return took;
  }

  #go(step) {
    if (!step) return;
    if (step.frame !== null) this.#view.player.seek(step.frame);
    this.#changed();
  }

  #changed() {
    const { editor, state } = this.#view;
    const kept = editor.changed ? { base: this.base.id, ...editor.save() } : null;
    this.kept = drafts.store(state.analysis.sha256, kept);
    this.tell();
    this.#view.tell();
    this.#view.draw();
    this.#onChange();
  }

  /** Write which tools can be used now. */
  tell() {
    const { editor, player } = this.#view;
    if (!editor) return;
    const count = editor.frames.length;
    const may = this.#may();
    for (const id of ['set-ed', 'set-es', 'back-out']) byId(id).disabled = !may;
    byId('undo').disabled = !may || !editor.canUndo;
    byId('redo').disabled = !may || !editor.canRedo;
    byId('back-out').textContent = editor.changed ? 'Take all back' : 'Leave';
    byId('reset').disabled = !may || !editor.frames.includes(player.frame);
    const kept = this.kept ? 'Kept on this tablet until you save.' : 'Not kept: save soon.';
    const changed = count === 1 ? '1 frame changed. ' : `${count} frames changed. `;
    byId('changed').textContent = editor.changed ? changed + kept : 'Nothing changed yet.';
  }

  #wire() {
    const view = this.#view;
    byId('undo').addEventListener('click', () => this.undo());
    byId('redo').addEventListener('click', () => this.redo());
    byId('set-ed').addEventListener('click', () => this.mark('ed'));
    byId('set-es').addEventListener('click', () => this.mark('es'));
    byId('back-out').addEventListener('click', () => this.back());
    byId('reset').addEventListener('click', () => {
      if (!this.#may()) return;
      view.editor.reset(view.player.frame);
      this.#changed();
    });
    byId('hide-model').addEventListener('click', () => this.toggleModelLine());
  }

  /** Show the model's line under the correction, or don't. */
  toggleModelLine() {
    const view = this.#view;
    view.modelLine = !view.modelLine;
    byId('hide-model').setAttribute('aria-pressed', String(view.modelLine));
    view.draw();
  }
}

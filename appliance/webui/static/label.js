/** The view's label: shown in the header, changed in a dialog. */

import { post } from './api.js';
import { t } from './language.js';
import { make } from './panel.js';

const byId = (id) => document.getElementById(id);

/** A button that names the view, and the dialog behind it. */
export class Label {
  #view;

  /**
   * @param {import('./view.js').View} view
   * @param {(send: Promise<any>) => Promise<void>} onSay gets what is being sent
   */
  constructor(view, onSay) {
    this.#view = view;
    this.onSay = onSay;
    byId('view').addEventListener('click', () => this.#open());
    byId('keep-view').addEventListener('click', () => byId('view-dialog').close());
    this.tell();
  }

  /** Write the label as it stands; nothing while the loop can't be given another. */
  tell() {
    const { view } = this.#view.state;
    byId('view').hidden = !view;
    byId('view').textContent = view?.word ?? '';
    byId('view').disabled = !view?.changeable || Boolean(this.#view.editor);
    byId('view').setAttribute('aria-label', t('View: {word}. Change it', view ?? {}));
    byId('view').classList.toggle('attention', view?.word.endsWith('?') ?? false);
  }

  #open() {
    const { view } = this.#view.state;
    const said = view.said.map((text) => make('li', { textContent: text }));
    byId('view-said').replaceChildren(...said);
    const choices = view.choices.map((choice) => {
      const attributes = { 'aria-pressed': String(choice.view === view.view) };
      const button = make('button', { textContent: choice.label, attributes, data: choice });
      button.addEventListener('click', () => this.#say(choice.view));
      return button;
    });
    byId('view-choices').replaceChildren(...choices);
    byId('view-dialog').showModal();
  }

  #say(name) {
    const { seq, view } = this.#view.state;
    byId('view-dialog').close();
    this.onSay(post(`/api/loops/${seq}/view`, { view: name, shown: view.id }));
  }
}

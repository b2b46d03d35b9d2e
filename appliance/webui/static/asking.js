/** What is settled beside a decision: that an expert should look, and whose study it is. */

import { persist, post } from './api.js';
import { make } from './panel.js';

const byId = (id) => document.getElementById(id);

/**
 * Lay the loop before an expert, however often the box must be asked.
 * @param {object} state the loop as the box describes it
 * @param {string} key made for this question
 * @param {() => void} onWait told before each new try
 * @returns {Promise<{said: string, next: string}>}
 */
export function askExpert(state, key, onWait) {
  const { newest_review } = state;
  const body = { analysis_sha256: state.analysis.sha256, newest_review, key };
  return persist(() => post(`/api/loops/${state.seq}/expert`, body), onWait);
}

/** The dialog of a study that holds loops of several PatientIDs. */
export class Whose {
  #view;

  /**
   * @param {import('./view.js').View} view
   * @param {(sent: Promise<any>) => Promise<void>} onSay gets what is being sent
   */
  constructor(view, onSay) {
    this.#view = view;
    this.onSay = onSay;
    byId('whose').addEventListener('click', () => this.#open());
    byId('keep-whose').addEventListener('click', () => byId('whose-dialog').close());
  }

  /** Show the way to the dialog where there is something to say. */
  tell() {
    byId('whose').hidden = !this.#view.state.identities.length;
  }

  #open() {
    const { identities } = this.#view.state;
    const rows = identities.map(({ id, name, birth, loops }) =>
      make('li', {}, [
        make('b', { textContent: name, dir: 'auto' }),
        ` ID ${id || '(none)'}${birth ? `, born ${birth}` : ''}: ${loops === 1 ? '1 loop' : `${loops} loops`}`,
      ]),
    );
    byId('whose-said').replaceChildren(...rows);
    const ids = [...new Set(identities.map(({ id }) => id))];
    const names = (wanted) => identities.filter(({ id }) => id === wanted).map(({ name }) => name);
    const only = ids.map((id) => this.#choice(`Only ${names(id).join(', ')}, ID ${id || '(none)'}`, ids, id));
    byId('whose-choices').replaceChildren(
      ...only,
      this.#choice('All of them are one and the same person', ids, null),
    );
    byId('whose-dialog').showModal();
  }

  #choice(text, ids, right) {
    const button = make('button', { textContent: text, data: { right: right ?? '*' } });
    button.addEventListener('click', () => {
      byId('whose-dialog').close();
      const body = { patient_ids: ids, right };
      this.onSay(post(`/api/loops/${this.#view.state.seq}/identity`, body));
    });
    return button;
  }
}

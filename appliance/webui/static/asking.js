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

/** The dialog of a study that tells of several patients. */
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
    const { identities, doubt } = this.#view.state;
    const rows = identities.map((who) =>
      make('li', {}, [make('b', { textContent: who.name, dir: 'auto' }), ` ${known(who)}: ${counted(who)}`]),
    );
    byId('whose-said').replaceChildren(make('li', { textContent: capital(doubt) }), ...rows);
    // Sent again as one other patient: that is to be confirmed, not chosen.
    const changed = identities.filter(({ loops }) => loops).length === 1;
    const lead = ({ loops }) => (changed ? (loops ? 'Yes, it is' : 'No, it is') : 'Only');
    byId('whose-choices').replaceChildren(
      ...identities.map((who) => this.#choice(`${lead(who)} ${who.name}, ${known(who)}`, who)),
      this.#choice('All of them are one and the same person', null),
    );
    byId('whose-dialog').showModal();
  }

  /**
   * @param {string} text
   * @param {{id: string, key: string} | null} right null: all are one person
   */
  #choice(text, right) {
    const { seq, identities, newest_identity } = this.#view.state;
    const button = make('button', { textContent: text, data: { right: right?.id ?? '*' } });
    const body = {
      patient_ids: [...new Set(identities.map(({ id }) => id))],
      right: right?.id ?? null,
      newest_identity,
      keys: identities.map(({ key }) => key),
      right_key: right?.key ?? null,
    };
    button.addEventListener('click', () => {
      byId('whose-dialog').close();
      this.onSay(post(`/api/loops/${seq}/identity`, body));
    });
    return button;
  }
}

function known({ id, birth }) {
  return `ID ${id || '(none)'}${birth ? `, born ${birth}` : ''}`;
}

function counted({ loops }) {
  if (!loops) return 'sent before';
  return loops === 1 ? '1 loop' : `${loops} loops`;
}

function capital(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

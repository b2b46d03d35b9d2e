/** What is settled beside a decision: whose study it is. */

import { post } from './api.js';
import { n, t } from './language.js';
import { make } from './panel.js';

const byId = (id) => document.getElementById(id);

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
    byId('whose-said').replaceChildren(make('li', { textContent: doubt }), ...rows);
    // Sent again as one other patient: that is to be confirmed, not chosen.
    const changed = identities.filter(({ loops }) => loops).length === 1;
    const lead = (who) => {
      const person = { person: `${who.name}, ${known(who)}` };
      if (!changed) return t('Only {person}', person);
      return who.loops ? t('Yes, it is {person}', person) : t('No, it is {person}', person);
    };
    byId('whose-choices').replaceChildren(
      ...identities.map((who) => this.#choice(lead(who), who)),
      this.#choice(t('All of them are one and the same person'), null),
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
  const none = t('(none)');
  const said = t('ID {id}', { id: id || none });
  return birth ? [said, t('born {birth}', { birth })].join(', ') : said;
}

function counted({ loops }) {
  return loops ? n('1 loop', '{count} loops', loops) : t('sent before');
}

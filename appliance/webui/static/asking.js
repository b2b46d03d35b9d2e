/** What a decision is called, and what is settled beside it: the view, and whose study it is. */

import { post } from './api.js';
import { n, t } from './language.js';
import { make } from './panel.js';

const byId = (id) => document.getElementById(id);

/**
 * Name what a tap on the primary button does.
 * @param {import('./view.js').View} view
 * @param {boolean} changed whether something was drawn or marked
 * @returns {[string, boolean]} the words, and whether there is nothing to do
 */
export function primary({ hidden, shown, latest, state }, changed) {
  if (hidden) return [t('Show contours'), false];
  const standing = state.annotations.find(({ id }) => id === latest) ?? {};
  const { by, decision } = standing;
  if (by && by !== document.body.dataset.reviewer) return [t('Replace {by}’s decision', standing), false];
  if (changed) return [t('Save and accept'), false];
  const same = shown === standing || (decision === 'accepted' && shown.id === 'model');
  if (by && same && state.decided && decision !== 'rejected') return [`✓ ${t('Accepted')}`, true];
  if (same || decision !== 'corrected') return [t('Accept'), false];
  return [shown.decision === 'corrected' ? t('Accept this one') : t('Accept the model’s'), false];
}

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

function known({ shown, birth }) {
  const none = t('(none)');
  const said = t('ID {id}', { id: shown || none });
  return birth ? [said, t('born {birth}', { birth })].join(', ') : said;
}

function counted({ loops }) {
  return loops ? n('1 loop', '{count} loops', loops) : t('sent before');
}

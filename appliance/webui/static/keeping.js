/** What is drawn and not saved: kept on this tablet, and on the box for when it doesn't come back. */

import { getJSON, post } from './api.js';
import * as drafts from './drafts.js';
import { before } from './lock.js';

const SOON_MS = 400; // after a stroke; the next one may follow at once
const AGAIN_MS = 5000; // after the box did not answer

/** Brings the newest drawing of one loop to the box, one at a time. */
export class Keeper {
  #url;
  #onKept;
  #timer = 0;
  #waiting; // undefined when the box has the newest
  #sending = null;
  #cut;
  #on; // the box's name of the drawing that is gone on from

  /**
   * @param {number} seq of the loop
   * @param {(kept: boolean, answer: {draft?: object, said?: string}) => void} onKept told whenever
   *   the box has the newest, or hasn't any more; with the drawing as it is there, where another
   *   tablet drew on it too, and a sentence about that
   */
  constructor(seq, onKept) {
    this.#url = `/api/loops/${seq}/draft`;
    this.#onKept = onKept;
    // The page may be put to sleep for good.
    document.addEventListener('visibilitychange', () => document.hidden && this.#send());
    before.push(async () => {
      await this.#send();
      await this.#send(); // what waited behind that
    });
  }

  /**
   * @param {string} analysis SHA-256 of the analysis
   * @returns {Promise<object | null>} what is to be gone on from
   */
  async load(analysis) {
    const here = drafts.load(analysis);
    // What the box doesn't have yet is brought there, and comes back with what it has.
    const draft = here?.unsent ? here : ((await this.#there(analysis)) ?? here);
    this.#on = draft?.on;
    return draft;
  }

  async #there(analysis) {
    try {
      const { analysis_sha256, draft, on } = await getJSON(this.#url);
      return analysis_sha256 === analysis ? { ...draft, on } : null;
    } catch {
      return null; // not reached: what is here is all there is
    }
  }

  /** @param {object} body as the box takes it; its draft is null when nothing is drawn any more */
  store(body) {
    this.#waiting = body;
    this.#keep(body, true);
    this.#onKept(false, {});
    this.#later(SOON_MS);
  }

  /** Send nothing more: a decision has taken the drawing, or is about to. */
  stop() {
    clearTimeout(this.#timer);
    this.#waiting = undefined;
    this.#cut?.abort();
  }

  #keep({ analysis_sha256, draft }, unsent) {
    this.kept = drafts.store(analysis_sha256, draft && { ...draft, on: this.#on, unsent });
  }

  #later(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(), wait);
  }

  #send() {
    if (this.#waiting) this.#sending ??= this.#bring();
    return this.#sending;
  }

  async #bring() {
    const body = this.#waiting;
    this.#waiting = undefined;
    this.#cut = new AbortController();
    const { signal } = this.#cut;
    try {
      const answer = await post(this.#url, { ...body, on: this.#on }, { signal });
      // A stroke that waits knows nothing of another tablet's: they join when it is sent.
      if (this.#waiting && answer.draft) return;
      this.#on = answer.on;
      if (this.#waiting || !answer.kept) return;
      this.#keep({ ...body, draft: answer.draft ?? body.draft }, false);
      this.#onKept(true, answer);
    } catch {
      // It is on this tablet all the while.
      if (!signal.aborted) this.#waiting ??= body;
    } finally {
      this.#sending = null;
      if (this.#waiting) this.#later(AGAIN_MS);
    }
  }
}

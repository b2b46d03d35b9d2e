/** What is drawn and not saved, kept on the box as well: for when this tablet doesn't come back. */

import { getJSON, post } from './api.js';

const SOON_MS = 400; // after a stroke; the next one may follow at once
const AGAIN_MS = 5000; // after the box did not answer

/** Brings the newest drawing of one loop to the box, one at a time. */
export class Keeper {
  #url;
  #onKept;
  #timer = 0;
  #waiting; // undefined when the box has the newest
  #sending = null;

  /**
   * @param {number} seq of the loop
   * @param {(kept: boolean) => void} onKept told whenever the box has the newest, or hasn't any more
   */
  constructor(seq, onKept) {
    this.#url = `/api/loops/${seq}/draft`;
    this.#onKept = onKept;
    // The page may be put to sleep for good.
    document.addEventListener('visibilitychange', () => document.hidden && this.#send());
  }

  /** @returns {Promise<{analysis_sha256: string | null, draft: object | null}>} what the box keeps */
  load() {
    return getJSON(this.#url);
  }

  /**
   * @param {object | null} body as the box takes it; null when nothing is drawn any more
   */
  store(body) {
    this.#waiting = body;
    this.#onKept(false);
    this.#later(SOON_MS);
  }

  /** Send nothing more: a decision has taken the drawing, or is about to. */
  stop() {
    clearTimeout(this.#timer);
    this.#waiting = undefined;
    this.#sending?.abort();
  }

  #later(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(), wait);
  }

  async #send() {
    if (this.#waiting === undefined || this.#sending) return;
    const body = this.#waiting;
    this.#waiting = undefined;
    this.#sending = new AbortController();
    const { signal } = this.#sending;
    try {
      await post(this.#url, body ?? undefined, { method: body ? 'POST' : 'DELETE', signal });
      if (this.#waiting === undefined) this.#onKept(Boolean(body));
    } catch {
      // It is on this tablet all the while.
      if (!signal.aborted && this.#waiting === undefined) this.#waiting = body;
    } finally {
      this.#sending = null;
      if (this.#waiting !== undefined) this.#later(AGAIN_MS);
    }
  }
}

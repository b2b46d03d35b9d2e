/** Everything that goes over the wire. */

import { t } from './language.js';

const RETRY_MS = 2000;
const TRIES = 3; // of what the box answers with a failure of its own

/** @param {number} ms */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What the box answered instead of doing it: a sentence for a person. */
export class Problem extends Error {
  /**
   * @param {string} sentence what to show
   * @param {number} status HTTP status; 0 when the box could not be reached
   */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/**
 * Fetch, or throw a Problem with a sentence in it.
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function request(url, options = {}) {
  let response;
  try {
    response = await fetch(url, { credentials: 'same-origin', ...options });
  } catch {
    throw new Problem(t('The box does not answer.'), 0);
  }
  if (response.ok) return response;
  if (response.status === 401) location.reload();
  const problem = await response.json().catch(() => ({}));
  throw new Problem(problem.detail ?? t('The box could not do that. Try again.'), response.status);
}

/**
 * Do something over the wire until it has worked; throw what more tries can't mend.
 * @template T
 * @param {() => Promise<T>} action
 * @param {(problem: Problem) => void} [tell] called before each new try
 * @returns {Promise<T>}
 */
export async function persist(action, tell = () => {}) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await action();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      const final = problem.status >= 500 ? tries >= TRIES : problem.status > 0;
      if (final) throw problem;
      tell(problem);
      await pause(RETRY_MS);
    }
  }
}

/** The rest of an answer; a connection cut in the middle of it is a Problem too. */
function whole(reading) {
  return reading.catch(() => {
    throw new Problem(t('The box does not answer.'), 0);
  });
}

/**
 * @param {string} url
 * @param {Record<string, string>} [headers]
 * @returns {Promise<any>}
 */
export async function getJSON(url, headers = {}) {
  return whole((await request(url, { headers })).json());
}

/**
 * @param {string} url
 * @returns {Promise<ArrayBuffer>}
 */
export async function getBytes(url) {
  return whole((await request(url)).arrayBuffer());
}

/**
 * @param {string} url
 * @param {object | undefined} body
 * @param {RequestInit} [more]
 * @returns {Promise<any>}
 */
export async function post(url, body, more = {}) {
  const token = document.querySelector('meta[name=csrf-token]').content;
  const headers = { 'Content-Type': 'application/json', 'X-CSRFToken': token };
  const options = { method: 'POST', headers, body: JSON.stringify(body), ...more };
  return whole((await request(url, options)).json());
}

/**
 * Read a pack of frames as it arrives: little-endian uint32 count, uint32 lengths, JPEGs.
 * A frame of length 0 could not be read on the box.
 * @param {string} url
 * @yields {{index: number, count: number, blob: Blob | null}}
 */
export async function* frames(url) {
  const stream = new Bytes((await request(url)).body.getReader());
  const count = new DataView(await stream.take(4)).getUint32(0, true);
  const lengths = new DataView(await stream.take(4 * count));
  for (let index = 0; index < count; index += 1) {
    const length = lengths.getUint32(4 * index, true);
    const blob = length ? new Blob([await stream.take(length)], { type: 'image/jpeg' }) : null;
    yield { index, count, blob };
  }
}

let wanted = null; // where to, the last that was asked for
let waiting = false;
let say = () => {};

const answers = () => fetch('/api/version').then(() => true, () => false);

/**
 * Leave the page: not before the box answers, else the browser's own error page would stand there.
 * @param {string} url
 * @param {boolean} [firm] whether no touch in between changes that
 */
export async function go(url, firm = false) {
  const here = (wanted = { url, firm });
  while (!(await answers())) {
    if (wanted !== here) return;
    waiting = true;
    say(t('The box does not answer. This page goes on when it does.'));
    await pause(RETRY_MS);
  }
  if (wanted === here) location.assign(url);
}

/** Who goes on working here has changed their mind. */
function stay({ repeat }) {
  if (!waiting || repeat || wanted.firm) return;
  wanted = null;
  waiting = false;
  say('');
}

/**
 * Take each link of the page that way.
 * @param {(sentence: string) => void} tell says why nothing happens; "" when that is over
 */
export function mind(tell) {
  say = tell;
  for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, stay, true);
  addEventListener('click', (event) => {
    const link = event.target.closest('a[href]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(link.href);
  });
}

/** Takes exact numbers of bytes from a stream; each byte is copied once. */
class Bytes {
  #reader;
  #parts = [];
  #held = 0;

  constructor(reader) {
    this.#reader = reader;
  }

  async take(length) {
    while (this.#held < length) {
      const { value, done } = await whole(this.#reader.read());
      if (done) throw new Problem(t('The loop did not arrive whole. Reload the page.'), 0);
      this.#parts.push(value);
      this.#held += value.length;
    }
    const taken = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const part = this.#parts[0];
      const used = part.subarray(0, length - filled);
      taken.set(used, filled);
      filled += used.length;
      if (used.length === part.length) this.#parts.shift();
      else this.#parts[0] = part.subarray(used.length);
    }
    this.#held -= length;
    return taken.buffer;
  }
}

/** What was decided or asked and the box hasn't answered yet, kept on this tablet until it has. No names. */

import { Problem, post } from './api.js';

const PREFIX = 'echocart.pending.';
// Not reached, a page of somebody else's session, or to be signed in to first: it still waits.
const UNANSWERED = [0, 400, 401, 403];

/**
 * @typedef {object} Pending
 * @property {number} seq of the loop
 * @property {string} reviewer initials of who decided: nobody else's session may send it
 * @property {'reviews' | 'expert'} [path] a decision, or a question to an expert
 * @property {object} body what is posted, with its key: a repeat is harmless. The patient stands
 *   in it as a keyed hash
 */

const name = ({ reviewer, body }) => `${PREFIX}${reviewer}.${body.analysis_sha256}`;

/** @param {Pending} pending kept until `forget` */
export function keep(pending) {
  try {
    localStorage.setItem(name(pending), JSON.stringify(pending));
  } catch {
    // Storage is full or off: the page still sends it for as long as it is open.
  }
}

/** @param {Pending} pending answered, whatever the answer was */
export function forget(pending) {
  try {
    localStorage.removeItem(name(pending));
  } catch {
    // Storage is off: nothing was kept.
  }
}

/** @returns {Pending[]} everything that waits on this tablet */
export function all() {
  try {
    const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
    return keys.map((key) => JSON.parse(localStorage.getItem(key)));
  } catch {
    return []; // storage switched off, or not ours: nothing was kept
  }
}

/**
 * Send it once; it is forgotten as soon as the box has taken it or said no.
 * @param {Pending} pending
 * @returns {Promise<any>} the box's answer
 */
export async function send(pending) {
  try {
    const answer = await post(`/api/loops/${pending.seq}/${pending.path ?? 'reviews'}`, pending.body);
    forget(pending);
    return answer;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    // A box in trouble may have taken it or not: a repeat does no harm.
    if (problem.status < 500 && !UNANSWERED.includes(problem.status)) forget(pending);
    throw problem;
  }
}

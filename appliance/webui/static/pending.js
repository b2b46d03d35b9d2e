/** Decisions the box hasn't answered yet, kept on this tablet until it has. No names. */

import { Problem, post } from './api.js';

const PREFIX = 'echocart.pending.';
// Not reached, a page of somebody else's session, or to be signed in to first: it still waits.
const UNANSWERED = [0, 400, 401, 403];

/**
 * @typedef {object} Pending
 * @property {number} seq of the loop
 * @property {string} reviewer initials of who decided: nobody else's session may send it
 * @property {object} body what is posted, with its key: a repeat is harmless. The patient stands
 *   in it as a keyed hash
 */

/** @param {Pending} pending kept until `forget` */
export function keep(pending) {
  try {
    localStorage.setItem(PREFIX + pending.body.analysis_sha256, JSON.stringify(pending));
  } catch {
    // Storage is full or off: the page still sends it for as long as it is open.
  }
}

/** @param {Pending} pending answered, whatever the answer was */
export function forget({ body }) {
  try {
    localStorage.removeItem(PREFIX + body.analysis_sha256);
  } catch {
    // Storage is off: nothing was kept.
  }
}

/** @returns {Pending[]} everything that waits on this tablet */
export function all() {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
    return names.map((name) => JSON.parse(localStorage.getItem(name)));
  } catch {
    return []; // storage switched off, or not ours: nothing was kept
  }
}

/**
 * Send a decision once; it is forgotten as soon as the box has answered.
 * @param {Pending} pending
 * @returns {Promise<any>} the box's answer
 */
export async function send(pending) {
  try {
    const answer = await post(`/api/loops/${pending.seq}/reviews`, pending.body);
    forget(pending);
    return answer;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (!UNANSWERED.includes(problem.status)) forget(pending);
    throw problem;
  }
}

/** The lock: L, or nobody's touch for a while. What was drawn stays on the tablet, unseen. */

import { pause } from './api.js';

const LOCK_MS = Number(document.querySelector('meta[name=lock-after]').content) * 1000;
const TELL_MS = Math.min(15000, LOCK_MS / 10); // a touch is told to the box so often
const LOOK_MS = Math.min(1000, LOCK_MS / 10);
const RETRY_MS = 2000;
const TOUCHED = 'echocart.touched'; // when somebody last touched any page of this tablet
const LOCKED = 'echocart.locked'; // until the box has ended the session (`signin.js`)
const TOUCHES = ['pointerdown', 'keydown', 'wheel', 'touchstart'];
const ACTS = ['pointerdown', 'keydown', 'click', 'submit', 'change', 'dragover', 'drop'];

/** What is to be done before the session ends. @type {(() => Promise<void>)[]} */
export const before = [];

const token = document.querySelector('meta[name=csrf-token]').content;
let told = 0;
let due = 0;
let locking = false;
let here = Date.now();

/** @returns {number} when somebody last touched this page, or another one of the tablet */
function touched() {
  try {
    return Math.max(here, Number(localStorage.getItem(TOUCHED)));
  } catch {
    return here; // storage is off
  }
}

function post(path, body) {
  const options = { method: 'POST', credentials: 'same-origin', keepalive: true, redirect: 'manual' };
  return fetch(path, { ...options, headers: { 'X-CSRFToken': token }, body });
}

/** Somebody is there: the page by itself never says so, whatever it fetches. */
async function tell() {
  clearTimeout(due);
  due = 0;
  told = Date.now();
  const answer = await post('/api/present').catch(() => null); // the next touch tells again
  if (answer?.status === 401 && !locking) location.reload();
}

function touch(event) {
  if (!event.isTrusted || locking) return;
  here = Date.now();
  try {
    localStorage.setItem(TOUCHED, String(here));
  } catch {
    // Storage is off: this page knows for itself.
  }
  if (here - told >= TELL_MS) tell();
  else if (!due) due = setTimeout(tell, told + TELL_MS - here);
}

/**
 * Cover the page, end the session, and go to where the PIN is asked for.
 * @param {string} why "idle", or "" when a person wants it
 * @param {boolean} [mark] false where another page of this tablet has marked it
 */
async function lock(why, mark = true) {
  if (locking) return;
  locking = true;
  try {
    // First: without network the session goes on, and a reload would open the page again.
    if (mark) localStorage.setItem(LOCKED, 'yes');
  } catch {
    // Storage is off: this page alone is covered.
  }
  document.documentElement.classList.add('covered');
  document.body.inert = true;
  const onward = place();
  const body = new URLSearchParams({ next: onward, why });
  while (!(await isTaken(body))) await pause(RETRY_MS);
  location.replace(`/sign-in?next=${encodeURIComponent(onward)}`);
}

/** @returns {boolean} whether this tablet was locked, and the box perhaps never heard of it */
function wasLocked() {
  try {
    return localStorage.getItem(LOCKED) !== null;
  } catch {
    return false; // storage is off
  }
}

/** @returns {boolean} whether locking has begun, here or on another page of this tablet */
export function isLocked() {
  return locking || wasLocked();
}

/** @returns {string} the page to come back to */
function place() {
  const asked = new URLSearchParams(location.search).get('next') ?? '/';
  return location.pathname === '/sign-in' ? asked : location.pathname + location.search;
}

/** @returns {Promise<boolean>} whether the box has taken the lock, or knows this page no more */
async function isTaken(body) {
  // What is drawn goes first: it can't be sent once the session is over.
  await Promise.race([Promise.all(before.map((send) => send())), pause(5 * RETRY_MS)]);
  const answer = await post('/lock', body).catch(() => null);
  return answer !== null && answer.status < 500;
}

function look() {
  if (Date.now() - touched() >= LOCK_MS) lock('idle');
}

// Under the cover nobody does anything in the name of who was there.
function ignore(event) {
  if (!locking) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}

for (const kind of ACTS) addEventListener(kind, ignore, true);
for (const kind of TOUCHES) addEventListener(kind, touch, { capture: true, passive: true });
addEventListener('pointermove', (event) => {
  if (event.buttons && Date.now() - here > LOOK_MS) touch(event); // a stroke has a hundred a second
}, { passive: true });
addEventListener('keydown', (event) => {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (!plain || event.key.toLowerCase() !== 'l' || event.target.matches('input, textarea')) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  lock('');
}, { capture: true });
document.getElementById('lock-form')?.addEventListener('submit', (event) => {
  event.preventDefault();
  lock('');
});
addEventListener('storage', ({ key, newValue }) => key === LOCKED && newValue && lock('', false));
// A tablet that slept, and a page that the browser kept for its back button.
document.addEventListener('visibilitychange', look);
addEventListener('pagehide', () => due && tell());
addEventListener('pageshow', (event) => event.persisted && location.reload());
setInterval(look, LOOK_MS);
if (wasLocked()) lock('', false);
// The touch that opened this page, told by nobody yet.
if (Date.now() - touched() < TELL_MS) tell();
